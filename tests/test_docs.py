"""The pages of docs/ and README.md: every example runs and shows what it does, every key and option has its line."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Optional

import pytest

import sandbox
from sandbox import Policy, PolicyError, _network_file, _policy_file, doctor
from sandbox import __main__ as cli
from sandbox._grants import FRACTIONS
from sandbox._messages import WALLS
from sandbox._pty import open_terminal
from tests.helpers import PATH

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if path.name != "design.md")]
LANGUAGES = ("python", "toml", "console", "sh")


# ---- reading a page -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block, its first line's number, what a ```text block right behind it shows, and why it is not run."""

    language: str
    text: str
    line: int
    shown: Optional[str] = None
    reason: str = ""


_FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_TRANSCRIPT = re.compile(r"(?<=\n\n)(?:    .*\n)+", re.MULTILINE)
_NOT_RUN = re.compile(r"^\*Not run by the tests: (.+)\*\n+\Z", re.MULTILINE)


def blocks(text: str) -> list[Block]:
    """In their order; a transcript of README.md is an indented block that begins with a prompt."""
    found = [(match.start(), match.end(), match[1], match[2]) for match in _FENCE.finditer(text)]
    for match in _TRANSCRIPT.finditer(text):
        inside = any(start < match.start() < end for start, end, _, _ in found)
        if match[0].startswith("    $ ") and not inside:
            found.append((match.start(), match.end(), "console", re.sub("(?m)^    ", "", match[0])))
    made: list[Block] = []
    last = 0
    for start, end, language, body in sorted(found):
        follows = bool(made) and not text[last:start].strip()
        if language == "text" and follows and made[-1].language in ("python", "sh") and made[-1].shown is None:
            made[-1] = Block(made[-1].language, made[-1].text, made[-1].line, body, made[-1].reason)
        else:
            reason = _NOT_RUN.search(text[last:start])
            made.append(Block(language, body, text.count("\n", 0, start) + 2, None, reason[1] if reason else ""))
        last = end
    return made


def test_blocks() -> None:
    """What is collected, and how."""
    page = "a\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n*Not run by the tests: it is long.*\n\n```sh\nsleep 9\n```\n\n    $ true\n\n    make x\n"
    assert blocks(page) == [
        Block("python", "print(1)\n", 4, "1\n"),
        Block("sh", "sleep 9\n", 14, None, "it is long."),
        Block("console", "$ true\n", 18),
    ]


# ---- running one --------------------------------------------------------------------------------------------------


class Page:
    """Runs the blocks of one page in the working directory. Python has one namespace; what it prints is what the
    ```text block behind it shows, or the comments behind the calls of print."""

    def __init__(self, path: Path, env: Mapping[str, str], names: Mapping[str, Any]) -> None:
        self.path, self.env, self.names = path, env, {"__name__": "page", **names}

    def run(self, block: Block) -> None:
        getattr(self, f"_{block.language}")(block)

    def _where(self, block: Block) -> str:
        return f"{self.path.relative_to(ROOT)}:{block.line}"

    def _same(self, block: Block, shown: str, real: str) -> None:
        assert alike(shown, real), f"{self._where(block)} shows\n{shown}\nand it is\n{real}"

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self.names)
        told = re.findall(r"^ *print\(.*\)  +# (.*)$", block.text, re.MULTILINE)
        if block.shown is not None or told:
            self._same(block, "".join(f"{line}\n" for line in told) if block.shown is None else block.shown, printed.getvalue())

    def _toml(self, block: Block) -> None:
        """One that begins with its file's name is written there, for the blocks that follow."""
        name = re.match(r"# (\S+\.toml)\n", block.text)
        policy = Policy.loads(block.text, name=str(Path(name[1] if name else "policy.toml").absolute()))
        assert Policy.loads(policy.to_toml()) == policy, self._where(block)
        if name:
            Path(name[1]).write_text(block.text)

    def _sh(self, block: Block) -> None:
        done = self._bash("set -e\n" + block.text)
        assert done.returncode == 0, f"{self._where(block)} ends with {done.returncode}\n{done.stdout}"
        if block.shown is not None:
            self._same(block, block.shown, done.stdout)

    def _console(self, block: Block) -> None:
        """Commands behind `$ `, gone on with behind `> `, in one shell; what each shows stands below it."""
        parts = re.split(r"^\$ (.*\n(?:> .*\n)*)", block.text, flags=re.MULTILINE)
        assert not parts[0] and len(parts) > 1, f"{self._where(block)}: begins with no prompt"
        commands = [re.sub("(?m)^> ", "", part) for part in parts[1::2]]
        script = "".join(f"{command}__last=$?; printf '\\0'; (exit $__last)\n" for command in commands)
        real = self._bash(script).stdout.split("\0")
        assert len(real) == len(commands) + 1, f"{self._where(block)}: the shell has ended: {real}"
        for command, shown, told in zip(commands, parts[2::2], real):
            self._same(block, f"$ {command}{shown}", f"$ {command}{told}")

    def _bash(self, script: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", script], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )  # fmt: skip
        lines = done.stdout.splitlines(keepends=True)
        done.stdout = "".join(line for line in lines if not line.startswith("sandbox: warning: "))
        return done


def alike(shown: str, real: str) -> bool:
    """Equal but for spaces at the ends of lines; `...` stands for anything."""
    wanted = re.escape(_stripped(shown)).replace(re.escape("..."), ".*?")
    return re.fullmatch(wanted, _stripped(real), re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with this `sandbox` on its PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "sandbox").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sandbox "$@"\n')
    (place / "sandbox").chmod(0o755)
    return {"PATH": f"{place}:{PATH}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "LANG": "C.UTF-8"}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The empty working directory of a page."""
    place = tmp_path / "desk"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    subprocess.run(["chmod", "-R", "u+rwX", str(place)], check=False)


def needs_of_readme(desk: Path) -> dict[str, Any]:
    """What README.md speaks of and does not make: files, and the names in its code."""
    for name in ("data", "results", "src", "checkout"):
        (desk / name).mkdir()
    (desk / "data" / "sales.csv").write_text("city,amount\nOslo,120\n")
    repo = desk / "checkout"
    (repo / "Makefile").write_text("test:\n\t@mkdir -p /work/report; grep new file >/work/report/result\n")
    (repo / "file").write_text("old\n")
    subprocess.run(["git", "init", "-q", "."], cwd=repo, check=True)
    patch = b"--- a/file\n+++ b/file\n@@ -1 +1 @@\n-old\n+new\n"
    return {"source": b"open('/out/made', 'w').write('x')\n", "patch": patch, "subprocess": subprocess}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path: Path, desk: Path, env: dict[str, str]) -> None:
    """Every example of a page does what it shows, in the page's order."""
    names = needs_of_readme(desk) if path.name == "README.md" and path.parent == ROOT else {}
    page = Page(path, env, names)
    for block in blocks(path.read_text("utf-8")):
        assert block.language in LANGUAGES, f"{path.name}:{block.line}: a block of {block.language or 'nothing'}"
        if not block.reason:
            page.run(as_anywhere(block) if names else block)


def as_anywhere(block: Block) -> Block:
    """What README.md shows of the root's names differs by machine."""
    return Block(block.language, re.sub("(?m)^/: .* /data: ", "/: ... /data: ", block.text), block.line, block.shown)


# ---- what must be there -------------------------------------------------------------------------------------------


def test_index() -> None:
    """docs/README.md links every page, every link of every page leads somewhere, and code is in fences, where it runs."""
    for page in PAGES:
        assert page == ROOT / "README.md" or not re.search("(?m)^\n    ", _FENCE.sub("", page.read_text("utf-8"))), page
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
    linked = set(re.findall(r"\]\(([^)#:]+)", (DOCS / "README.md").read_text("utf-8")))
    assert {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - {"README.md"} <= linked


def sections(path: Path) -> dict[str, str]:
    """The text below each heading of the second or third level, by the heading without its marks."""
    parts = re.split(r"^###? (.*)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    return {title.replace("`", ""): body for title, body in zip(parts[1::2], parts[2::2])}


def rows(text: str, columns: int) -> list[list[str]]:
    """The rows of tables with so many columns, without their heads."""
    lines = [line for line in text.splitlines() if re.match(r"\| *`", line)]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if len(row) == columns]


def code(cell: str) -> str:
    return cell.strip("`").replace("\\|", "|")


# ---- docs/policy.md -----------------------------------------------------------------------------------------------

WORDS = {str: "text", bool: "true or false", int: "whole number", list: "list", dict: "table"}
LIMITS = {
    entry.name: ("number" if entry.name in FRACTIONS else "whole number", False) for entry in fields(sandbox.Limits)
}
RULES = {
    f"network.{rule}": {key: (kind_words(kind), key == rule or key in _network_file._NEEDED.get(rule, ())) for key, kind in keys.items()}
    for kind_words in [lambda kind: " or ".join(WORDS[one] for one in (kind if isinstance(kind, tuple) else (kind,)))]
    for rule, keys in _network_file._KEYS.items()
}
TABLES: dict[str, dict[str, tuple[str, bool]]] = {
    **{
        table: {key: (WORDS[kind], key in _policy_file._NEEDED[table]) for key, kind in keys.items()}
        for table, keys in _policy_file._KEYS.items()
    },
    "limits": LIMITS,
    **RULES,
}
"""The keys of each table as the code has them: the word for the type, and whether the key must be there."""

ASKING = {
    "policy": "zz = 1",
    "limits": "limits = {zz = 1}",
    **{name: f"{name} = [{{zz = 1}}]" for name in _policy_file._KEYS},
    **{f"network.{rule}": f"network = [{{{rule} = 1, zz = 1}}]" for rule in _network_file._KEYS},
}
DEFAULTS = {
    ("mounts", "writable"): sandbox.Mount("/a", "/").writable,
    ("mounts", "noexec"): sandbox.Mount("/a", "/").noexec,
    ("mounts", "hide"): list(sandbox.Mount("/a", "/").hide),
    ("scratch", "noexec"): sandbox.Scratch("/a").noexec,
    ("files", "executable"): sandbox.File("/a", b"").executable,
    ("network.allow", "private"): sandbox.Allow("a").private,
    ("network.allow_http", "private"): sandbox.AllowHTTP("GET", "a/*").private,
    ("network.header", "plain"): sandbox.Header("A", "b", hosts=["a"]).plain,
    ("network.publish", "sources"): list(sandbox.Publish(1, 1).sources),
}


def known_keys(table: str) -> list[str]:
    """As the error for an unknown key names them."""
    with pytest.raises(PolicyError) as raised:
        Policy.loads(ASKING[table])
    return str(raised.value).partition("known: ")[2].split(", ")


@pytest.mark.parametrize("table", ASKING)
def test_every_key_has_its_line(table: str) -> None:
    """docs/policy.md has a line for each key that a table may have, and no other."""
    documented = [code(row[0]) for row in rows(sections(DOCS / "policy.md")[table], 4)]
    assert sorted(documented) == sorted(known_keys(table))


@pytest.mark.parametrize("table", TABLES)
def test_types_and_defaults(table: str) -> None:
    for key, kind, default, _ in rows(sections(DOCS / "policy.md")[table], 4):
        word, needed = TABLES[table][code(key)]
        assert kind == word and (default == "needed") == needed, key
        if (table, code(key)) in DEFAULTS:
            assert default == f"`{str(DEFAULTS[table, code(key)]).lower()}`", key


@pytest.mark.parametrize("table", ASKING)
def test_errors_of_a_policy(table: str) -> None:
    """Each error that is shown is the one that comes, and each key is in one."""
    shown = rows(sections(DOCS / "policy.md")[table], 2)
    for text, message in shown:
        with pytest.raises(PolicyError) as raised:
            Policy.loads(code(text))
        assert str(raised.value) == "policy: " + code(message), text
    for key in known_keys(table):
        assert any(re.search(rf"\b{key}\b", text) for text, _ in shown), f"no error for {key}"


def test_walls_are_listed() -> None:
    text = sections(DOCS / "policy.md")["policy"]
    assert all(f"`{wall}`" in text for wall in WALLS)


# ---- docs/threat-model.md -----------------------------------------------------------------------------------------


def test_reach_is_what_doctor_says() -> None:
    """What a broken sentry reaches, wall by wall, in the words of `sandbox doctor`."""
    table = re.findall(r"^\| ([\w ]+) \| (.*) \| (.*) \|$", sections(DOCS / "threat-model.md")["What a broken sentry reaches"], re.MULTILINE)
    assert {thing for thing, _, _ in table[1:]} == set(doctor._reach(dict.fromkeys(WALLS, "no")))
    for thing, wall, text in table[1:]:
        reach = doctor._reach({name: "" if f"`{name}`" == wall else "no" for name in WALLS})
        assert reach[thing].replace(f"user {os.geteuid()}", "your user") == text, (thing, wall)


# ---- docs/cli.md --------------------------------------------------------------------------------------------------

PARSER = cli._parser()
COMMANDS = {
    name: parser
    for action in PARSER._actions
    if isinstance(action, argparse._SubParsersAction)
    for name, parser in action.choices.items()
}
SHARED = "Options that make a policy"


def shown_arguments(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Each argument but --help as a reference writes it, and its metavar or choices."""
    found = {}
    for action in parser._actions:
        if "--help" in action.option_strings:
            continue
        words = "|".join(map(str, action.choices or ()))
        value = "" if action.nargs == 0 else words or str(action.metavar or action.dest.upper())
        value = f"[{value}]" if action.option_strings and action.nargs == "?" else value
        found["/".join(action.option_strings) or str(action.metavar or action.dest)] = value
    return found


def documented_arguments(text: str) -> dict[str, str]:
    """`-o FILE`, `--output FILE` is one argument with two names."""
    found = {}
    for cell, _ in rows(text, 2):
        names = [name.split(" ", 1) for name in re.findall("`([^`]+)`", cell.replace("\\|", "|"))]
        if names[0][0].isdecimal():
            continue  # an exit status
        found["/".join(name[0] for name in names)] = names[-1][1] if len(names[-1]) > 1 else ""
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_has_a_help_text(name: str) -> None:
    """--help says of every option and argument what it does, and the list of commands what each does."""
    missing = [action.option_strings or action.dest for action in COMMANDS[name]._actions if not (action.help or "").strip()]
    assert missing == [] and COMMANDS[name].format_help()


def test_every_command_has_a_help_text() -> None:
    (commands,) = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help for action in commands._choices_actions}
    assert set(helps) == set(commands.choices) and all(helps.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_line(name: str) -> None:
    """docs/cli.md has a line for each argument of each command with what it takes, and no other."""
    parts = sections(DOCS / "cli.md")
    documented = documented_arguments(parts[f"sandbox {name}"])
    if f"[{SHARED}](#" in parts[f"sandbox {name}"]:
        documented.update(documented_arguments(parts[SHARED]))
    real = shown_arguments(COMMANDS[name])
    assert {key for key in documented if key.startswith("-")} == {key for key in real if key.startswith("-")}
    assert {key: value for key, value in documented.items() if value != real[key] and key.startswith("-")} == {}
    positionals = {key for key in real if not key.startswith("-")}
    assert positionals == {key for key in documented if not key.startswith("-")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_exit_statuses(name: str) -> None:
    text = sections(DOCS / "cli.md")[f"sandbox {name}"]
    assert "Exit status" in text and "`125`" in text
    if name in ("run", "learn"):
        assert all(f"`{status}`" in text for status in (cli.OWN_ERROR, cli.CANNOT_RUN, cli.NOT_FOUND)), name
    assert name != "run" or f"`{cli.TIMEOUT}`" in text


# ---- sandbox completion -------------------------------------------------------------------------------------------

LINES = {
    "sandbox ": set(COMMANDS),
    "sandbox doc": {"doctor"},
    "sandbox run --net": {"--network"},
    "sandbox run --network ": {"none", "loopback", "host"},
    "sandbox run --require landlock-": {"landlock-scope"},
    "sandbox explain --js": {"--json"},
    "sandbox explain res": {"resolve"},
    "sandbox audit --verdict da": {"damaged"},
    "sandbox report --output pa": {"page.html"},
    "sandbox run --root pl": {"places"},
    "sandbox run --memory pa": set(),
    "sandbox run -- envsub-nonesuch": set(),
    "sandbox run -- pri": {"printf"},
    "sandbox run -- cat pa": {"page.html"},
    "sandbox completion b": {"bash"},
}
"""A line as typed, and what the shell offers for its last word."""

BASH = """
set -o emacs
source completion
complete -p sandbox >/dev/null
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
read -ra COMP_WORDS <<<"$1"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { [[ $2 == dirnames ]] && extra=-d || extra=-f; }
extra=
_sandbox
printf '%s\\n' "${COMPREPLY[@]}"
((${#COMPREPLY[@]})) || [[ -z $extra ]] || compgen $extra -- "${COMP_WORDS[COMP_CWORD]}"
"""


def completion(shell: str, desk: Path, env: Mapping[str, str]) -> None:
    """The script of a shell in the file completion, and something to complete."""
    (desk / "page.html").touch()
    (desk / "places").mkdir()
    done = subprocess.run(["sandbox", "completion", shell], env=env, capture_output=True, text=True, check=True)
    (desk / "completion").write_text(done.stdout)


def test_bash_completes(desk: Path, env: dict[str, str]) -> None:
    completion("bash", desk, env)
    for line, offered in LINES.items():
        done = subprocess.run(["bash", "--norc", "-c", BASH, "bash", line], env=env, capture_output=True, text=True)
        found = set(done.stdout.split())
        assert (offered <= found if "-- p" in line else offered == found) and not done.stderr, (line, found, done.stderr)


def test_bash_completes_a_typed_line(desk: Path, env: dict[str, str]) -> None:
    """A shell at a terminal, with the key that completes."""
    completion("bash", desk, env)
    typed = b"source completion\nsandbox doct\t >answer\nsandbox report --outp\tanswer.html pag\t; echo done\nexit\n"
    env = {**env, "PS1": "", "TERM": "dumb", "INPUTRC": "/dev/null"}
    (desk.parent / "bin" / "sandbox").write_text('#!/bin/sh\necho "$@" >>told\n')
    terminal, theirs = open_terminal(24, 200)
    with subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True) as process:
        os.close(theirs)
        terminal.write(typed)
        with contextlib.suppress(OSError):
            while terminal.read(4096):
                pass
        process.wait(60)
    terminal.close()
    assert (desk / "told").read_text() == "doctor\nreport --output answer.html page.html\n"


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_other_shells_complete(shell: str, desk: Path, env: dict[str, str]) -> None:
    program = shutil.which(shell, path=PATH)
    completion(shell, desk, env)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    if shell == "zsh":
        subprocess.run([program, "-n", "completion"], check=True, env=env)
        script = "autoload -U compinit; compinit -D -u; source ./completion; print $_comps[sandbox]"
        done = subprocess.run([program, "-f", "-c", script], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["_sandbox"]
        return
    for line, offered in LINES.items():
        script = f"source completion; complete -C '{line}'"
        done = subprocess.run([program, "--no-config", "-c", script], env=env, capture_output=True, text=True, check=True)
        found = {row.split("\t")[0].rstrip("/") for row in done.stdout.splitlines()}
        assert offered <= found, (line, found)
