"""sandbox audit: print, --json, --summary, --verify, --schema; exit statuses; names that are hostile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import _audit
from sandbox._audit.event import Event
from sandbox._audit.schema import SCHEMA
from tests.test_audit import record
from tests.test_cli import COMMAND, ENV, Terminal, call

HOSTILE = (b"/\x1b]0;title\x07\x1b[2J", b"/line\nbreak\r", b"/\xff\xfe\x80", "/\u202egpj.exe\u2028\u0085".encode(), b"[bold]/\\x41")


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    path = tmp_path / "audit\x1b[2J\n"
    sink = _audit.Sink(path, 1, {"pid": 1, "mounts": ["/", "/m\x1b[2J\n"]})
    for number, name in enumerate(HOSTILE):
        sink.records(record(number + 1, path=name))
    sink.records(record(9, service=5))
    sink.close()
    return path


def safe(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_hostile_names_as_text(trail: Path) -> None:
    """One line for each record, every character of it printable."""
    done = call("audit", str(trail))
    assert done.returncode == 0 and safe(done.stdout) and len(done.stdout.splitlines()) == len(HOSTILE) + 2
    for shown in (r"\x1b]0;title\x07", r"\nbreak\r", r"/\xff\xfe\x80", r"\u202egpj.exe\u2028\x85", r"[bold]/\\x41"):
        assert shown in done.stdout


def test_hostile_names_as_json(trail: Path) -> None:
    """One line of ASCII for each; the bytes can be had back."""
    done = call("audit", str(trail), "--json")
    lines = done.stdout.splitlines()
    assert done.stdout.isascii() and safe(done.stdout) and len(lines) == len(HOSTILE) + 2
    assert [os.fsencode(json.loads(line)["paths"][0]) for line in lines[:5]] == list(HOSTILE)


@pytest.mark.parametrize("mode", [["--summary"], ["--summary", "--json"], ["--verify"], ["--verify", "--json"]])
def test_hostile_names_otherwise(mode: list[str], trail: Path) -> None:
    """Directories, and names of files, too."""
    assert safe(call("audit", str(trail), *mode).stdout)
    trail.write_bytes(trail.read_bytes()[:-50])
    done = call("audit", str(trail), *mode)
    assert safe(done.stdout) and safe(done.stderr) and "broken" in done.stdout + done.stderr


@pytest.mark.parametrize("mode", [[], ["--summary"], ["--verify"]])
def test_on_a_terminal(mode: list[str], trail: Path) -> None:
    """In colour where rich is installed; what is shown drives nothing but the colour."""
    pytest.importorskip("rich")
    shown = on_terminal("audit", str(trail), *mode)
    plain = strip_colours(shown)
    assert safe(plain) and ("\x1b[" in shown) == (mode != ["--verify"])
    assert mode or r"\x1b]0;title\x07\x1b[2J" in plain


@pytest.mark.parametrize("arguments", [["doctor"], ["explain", "open", "/usr/x\x1b[2J\n", "w"], ["explain", "stat", "/usr"]])
def test_answers_on_a_terminal(arguments: list[str]) -> None:
    """The same text, coloured where a person reads it and rich is installed; a program gets it plain."""
    pytest.importorskip("rich")
    shown = on_terminal(*arguments)
    assert "\x1b[" in shown
    assert safe(strip_colours(shown)) and strip_colours(shown) == call(*arguments).stdout


def on_terminal(*arguments: str) -> str:
    """What a command prints on a terminal that it has for itself."""
    terminal = Terminal.__new__(Terminal)
    terminal.seen = b""
    terminal.pid, terminal.fd = os.forkpty()
    if terminal.pid == 0:
        os.execvpe(sys.executable, [*COMMAND, *arguments], {**ENV, "TERM": "xterm", "COLUMNS": "200"})
    shown = terminal.until(b"\0never").decode()
    os.close(terminal.fd)
    os.waitpid(terminal.pid, 0)
    return shown.replace("\r\n", "\n")


def strip_colours(text: str) -> str:
    import re

    return re.sub("\x1b\\[[0-9;]*m", "", text)


def test_without_rich(trail: Path) -> None:
    """It is no dependency: a terminal then gets what a file gets."""
    code = "import sys; sys.modules['rich.console'] = None; sys.stdout.isatty = lambda: True; from sandbox.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "audit", str(trail)], env=ENV, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == call("audit", str(trail)).stdout


def test_rich_is_not_imported_for_a_program(trail: Path) -> None:
    code = "import sys; from sandbox.__main__ import main; main(); print([m for m in sys.modules if m.startswith('rich')])"
    done = subprocess.run([sys.executable, "-c", code, "audit", str(trail)], env=ENV, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_filters(tmp_path: Path) -> None:
    """By pid, call, path and verdict, for every way to show."""
    sandbox.run("cat /nowhere; cat /etc/hostname", shell=True, audit=tmp_path / "a")
    rows = [json.loads(line) for line in call("audit", str(tmp_path / "a"), "--json", "--path", "/nowhere").stdout.splitlines()]
    assert rows and all("/nowhere" in path for row in rows for path in row["paths"])
    same = call("audit", str(tmp_path / "a"), "--json", "--pid", str(rows[0]["pid"]), "--call", "openat", "--verdict", "failed")
    assert {(row["pid"], row["call"], row["verdict"]) for row in map(json.loads, same.stdout.splitlines())} == {
        (rows[0]["pid"], "openat", "failed")
    }
    table = call("audit", str(tmp_path / "a"), "--summary", "--json", "--path", "/nowhere").stdout.splitlines()
    assert json.loads(table[-1])["count"] == len(rows)


# ---- schema ---------------------------------------------------------------------------------------------------------


def lines_of(trail: Path) -> list[Any]:
    sandbox.run("cat made /nowhere; mkdir d; mv d e", shell=True, audit=trail, files={"/work/made": lambda: b"x"})
    with open(trail, "ab") as file:
        sink = _audit.Sink(file, 99, {"mounts": []})
        sink.records(record(2, nr=499, service=2**63, path=b"/\xff") + b"no record")
    return [json.loads(line) for line in call("audit", str(trail), "--json").stdout.splitlines()]


_TYPES = {"string": str, "integer": int, "number": (int, float), "null": type(None), "array": list, "boolean": bool}


def test_lines_have_what_the_schema_says(tmp_path: Path) -> None:
    """Names and types, without a library."""
    for row in lines_of(tmp_path / "a"):
        assert list(row) == SCHEMA["required"] == list(SCHEMA["properties"])
        for name, rule in SCHEMA["properties"].items():
            allowed = rule.get("type", [])
            kinds = [_TYPES[kind] for kind in ([allowed] if isinstance(allowed, str) else allowed)]
            assert not kinds or any(isinstance(row[name], kind) for kind in kinds), (name, row)
    assert set(Event._fields) | {"version", "access"} == set(SCHEMA["properties"])


def test_lines_are_valid(tmp_path: Path) -> None:
    """By a validator that is not ours, and it refuses what is not so."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    rows = lines_of(tmp_path / "a")
    assert {row["verdict"] for row in rows} >= {"done", "failed", "damaged"}
    for row in rows:
        validator.validate(row)
    for wrong in ({"guest": "x"}, {"verdict": "fine"}, {"paths": ["a", "b", "c"]}, {"version": 2}, {"sequence": 1.5}):
        assert not validator.is_valid({**rows[0], **wrong})


def test_schema_is_printed() -> None:
    done = call("audit", "--schema")
    assert done.returncode == 0 and json.loads(done.stdout) == SCHEMA
    assert all("description" in rule for rule in SCHEMA["properties"].values())


# ---- exit status ----------------------------------------------------------------------------------------------------


def test_verify(tmp_path: Path) -> None:
    """0 where all is whole; 1 and the place where it is not; every file is named."""
    path = tmp_path / "a"
    sandbox.run(["true"], audit=path)
    done = call("audit", str(path), "--verify")
    assert done.returncode == 0 and "whole, chain " in done.stdout
    assert json.loads(call("audit", str(path), "--verify", "--json").stdout)["state"] == "ended"
    whole = path.read_bytes()
    at = len(whole) - 400
    path.write_bytes(whole[:at] + b"?" + whole[at + 1 :])
    done = call("audit", str(path), "--verify")
    assert done.returncode == 1 and "broken at byte " in done.stdout and "the chain does not hold" in done.stdout
    row = json.loads(call("audit", str(path), "--verify", "--json").stdout)
    assert (row["state"], row["ok"]) == ("broken", False) and row["offset"] < at


def test_verify_a_guest_that_runs(tmp_path: Path) -> None:
    """It can be read, and is not yet whole."""
    with sandbox.Sandbox(audit=tmp_path / "a"):
        done = call("audit", str(tmp_path / "a"), "--verify")
        assert done.returncode == 1 and "NO END" in done.stdout
        assert call("audit", str(tmp_path / "a")).returncode == 0
    assert call("audit", str(tmp_path / "a"), "--verify").returncode == 0


@pytest.mark.parametrize("mode", [[], ["--json"], ["--summary"], ["--summary", "--json"]])
def test_what_is_before_the_damage_is_shown(mode: list[str], trail: Path) -> None:
    """Then comes the place, and the status."""
    before = call("audit", str(trail), *mode).stdout
    with open(trail, "ab") as file:
        file.write(b"SBXR and then it was cut off")
    done = call("audit", str(trail), *mode)
    assert done.returncode == 125 and done.stdout == before and "broken at byte " in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--verify"], ["/nowhere/at/all"], ["/"], ["/nowhere", "--verify"], ["--pid", "x", "f"]])
def test_no_file(arguments: list[str]) -> None:
    done = call("audit", *arguments)
    assert done.returncode == 125 and done.stderr and "Traceback" not in done.stderr


def test_ascii_terminal(tmp_path: Path) -> None:
    """A name that the terminal's encoding does not have is escaped."""
    _audit.Sink(tmp_path / "a", 1, {"mounts": ["/"]}).records(record(1, path="/ü".encode()))
    done = subprocess.run([*COMMAND, "audit", str(tmp_path / "a")], env={**ENV, "PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert done.returncode == 0 and rb'"/\xfc"' in done.stdout
