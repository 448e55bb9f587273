"""What a guest's resolver decides, in the trail and what is made of it, and in the usage: questions, refused and
allowed, and addresses that are left out of answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Allow, Deny, Event, Resolvers, Sandbox
from sandbox._audit import load
from sandbox._audit.schema import SCHEMA
from tests.test_cli import call
from tests.test_names_upstream import NameServer, server

__all__ = ["server"]

ASK = """
import socket, sys
for name in sys.argv[1:]:
    try: print(socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror as error: print(error.errno)
"""
RAW = """
import socket, sys
asker = socket.socket(type=socket.SOCK_DGRAM); asker.connect(("127.0.0.53", 53)); asker.settimeout(30)
for number, label in enumerate((b"a\\n<0>b \\xff", b"x\\0y")):
    asker.send(bytes([0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(label)]) + label + b"\\4test\\0\\0\\1\\0\\1"); print(asker.recv(999)[3] & 15)
"""
NAMES = ("web.test", "other.test", "inner.test", "no.web.test")
TOLD = [
    ("done", None, ("web.test",), "allow web.test"),
    ("denied", "EAI_NONAME", ("other.test",), "default"),
    ("done", None, ("inner.test",), "allow inner.test"),
    ("denied", "EAI_NONAME", ("inner.test", "10.0.0.5"), "default: private"),
    ("denied", "EAI_NONAME", ("no.web.test",), "deny *.web.test"),
]


@pytest.fixture
def rules(server: NameServer) -> list[Any]:
    server.load("web.test 300 A 93.184.215.14\ninner.test 300 A 10.0.0.5\nother.test 300 A 93.184.215.14")
    address, port = server.address
    return [Allow("web.test"), Allow("inner.test"), Deny("*.web.test"), Resolvers(f"{address}:{port}")]


def python(source: str, *args: str) -> list[str]:
    return [sys.executable, "-c", source, *args]


def told(events: list[Event]) -> list[Any]:
    return [(each.verdict, each.error, each.paths, each.rule) for each in events if each.call == "resolve"]


def test_each_decision_is_an_event_and_is_counted(rules: list[Any], tmp_path: Path) -> None:
    """In the file, for a function and as it comes; by the rule, of which the usage has the counts."""
    events: list[Event] = []
    with Sandbox(network=rules, audit=events.append) as box:
        before = box.network.usage
        stream = box.events(call="resolve")
        done = box.run(python(ASK, *NAMES), text=True)
        live = [next(stream) for _ in TOLD]
        usage = box.network.usage
    assert done.stdout.split() == ["93.184.215.14", "-2", "-5", "-2"]
    assert told(events) == told(live) == TOLD
    assert all(each.served == "name/A" and each.trusted for each in live)
    assert usage.refused - before.refused == 3
    counted = Counter(rule for *_, rule in TOLD)
    assert {rule: usage.rules[rule] for rule in counted} == counted
    sandbox.run(python(ASK, *NAMES), network=rules, audit=tmp_path / "audit")
    assert told(list(load(tmp_path / "audit"))) == TOLD


def test_what_is_made_of_it(rules: list[Any], tmp_path: Path) -> None:
    """sandbox audit prints, filters and sums it up, each line is as its schema says, the chain holds, and a report has
    it among what the network did."""
    trail = tmp_path / "audit"
    sandbox.run(python(ASK, *NAMES), network=rules, audit=trail)
    jsonschema = pytest.importorskip("jsonschema", reason="the schema is judged by a validator that is not ours")
    rows = [json.loads(line) for line in call("audit", "--json", "--call", "resolve", str(trail)).stdout.splitlines()]
    for row in rows:
        jsonschema.Draft202012Validator(SCHEMA).validate(row)
    assert [(row["verdict"], row["error"], tuple(row["paths"]), row["rule"]) for row in rows] == TOLD
    (line,) = call("audit", "--path", "10.0.0.5", str(trail)).stdout.splitlines()
    assert "resolve" in line and 'denied EAI_NONAME "inner.test" "10.0.0.5" [default: private]' in " ".join(line.split()).replace("0.0us ", "")
    summary = [json.loads(line) for line in call("audit", "--summary", "--json", str(trail)).stdout.splitlines()]
    assert ("resolve", "other.test", "denied", 1) in [(row["call"], row["place"], row["verdict"], row["count"]) for row in summary]
    assert "whole" in call("audit", "--verify", str(trail)).stdout
    assert call("report", str(trail), "-o", str(tmp_path / "page")).returncode == 0
    assert "other.test" in (tmp_path / "page").read_text()


def test_spans(rules: list[Any]) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the SDK is the extra otel")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from sandbox.otel import Spans

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sandbox.run(python(ASK, *NAMES), network=rules, audit=Spans(provider))
    (span,) = exporter.get_finished_spans()
    refused = [dict(event.attributes or {}) for event in span.events]
    named = [(each["sandbox.paths"], each["sandbox.rule"]) for each in refused if each["sandbox.call"] == "resolve"]
    assert named == [(paths, rule) for verdict, _, paths, rule in TOLD if verdict == "denied"]


def test_names_are_printable(rules: list[Any]) -> None:
    """Whatever bytes a question has: no name has a space, a control character or a NUL, and no line has a second."""
    events: list[Event] = []
    assert sandbox.run(python(RAW), network=rules, audit=events.append, text=True).stdout.split() == ["3", "3"]
    found = [event for event in events if event.call == "resolve"]
    assert [event.paths for event in found] == [("a\\010<0>b\\032\\255.test",), ("x\\000y.test",)]
    assert all(str(event).isprintable() for event in found)


def test_hints_are_followed(server: NameServer) -> None:
    """The options that they name make the name lead there, and then there are none; where a rule forbids it they say
    which."""
    server.load("inner.test 300 A 10.0.0.5")
    base = ["--resolver", "{}:{}".format(*server.address), "--deny", "*.web.test"]
    python_ = ["--", sys.executable, "-c", ASK]

    def run(options: list[str], name: str) -> tuple[str, list[str]]:
        done = call("run", "--hints", *base, *options, *python_, name)
        return done.stdout.strip(), [line for line in done.stderr.splitlines() if "hint: " in line]

    assert run([], "inner.test") == ("-2", ["sandbox: hint: inner.test is refused by default (resolve inner.test): --allow inner.test"])
    answer, (line,) = run(["--allow", "inner.test"], "inner.test")
    assert answer == "-5" and line.endswith("10.0.0.5 is left out of what inner.test leads to (resolve 'inner.test 10.0.0.5'): --allow-private inner.test")
    assert run(["--allow-private", "inner.test"], "inner.test") == ("10.0.0.5", [])
    assert "is refused by deny *.web.test" in run([], "no.web.test")[1][0]


WAIT = "print('asked', flush=True); input()"
FLOOD = {
    "datagrams": """
import socket
one = bytes.fromhex("000001000001000000000000") + b"\\5other\\4test\\0\\0\\1\\0\\1"
asker = socket.socket(type=socket.SOCK_DGRAM); asker.connect(("127.0.0.53", 53))
for _ in range(500): asker.send(one)
""",
    "a stream": """
import socket
one = bytes.fromhex("000001000001000000000000") + b"\\5other\\4test\\0\\0\\1\\0\\1"
asker = socket.create_connection(("127.0.0.53", 53)); asker.setblocking(False)
try:
    for _ in range(500): asker.send(len(one).to_bytes(2, "big") + one)
except BlockingIOError: pass
""",
}


@contextmanager
def released(go_on: threading.Event) -> Iterator[None]:
    """A guest whose events nobody takes does not end."""
    try:
        yield
    finally:
        go_on.set()


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without the guard"])
@pytest.mark.parametrize("how", FLOOD)
def test_who_does_not_keep_up_is_not_buried(rules: list[Any], how: str, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest asks without end, and the function that gets its events hangs: its questions wait where the kernel keeps
    them, and another guest is served. Without the guard they pile up here."""
    if not guarded:
        monkeypatch.setattr("sandbox.services.net.Internet._is_behind", lambda _: False)
    go_on = threading.Event()
    with Sandbox(network=rules, audit=lambda _: go_on.wait()) as box, released(go_on):
        asking = box.popen(python(FLOOD[how] + WAIT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert asking.stdout is not None and asking.stdout.readline() == "asked\n"
        with Sandbox(network=rules) as other:
            assert other.run(python(ASK, "web.test"), text=True, timeout=60).stdout == "93.184.215.14\n"
        waiting = box._guest._records._sink._keeper._batches  # type: ignore[union-attr]
        deadline = time.monotonic() + 60
        while not guarded and len(waiting) < 100 and time.monotonic() < deadline:
            box._guest._loop.perform(lambda: None)  # a turn of it
        assert (len(waiting) < 20) == guarded, len(waiting)
        go_on.set()
        asking.communicate("\n")


def test_a_function_that_keeps_up_again_gets_them(rules: list[Any]) -> None:
    """What waited is answered and told of."""
    go_on, entered, events = threading.Event(), threading.Event(), []

    def take(event: Event) -> None:
        entered.set()
        go_on.wait()
        events.append(event)

    with Sandbox(network=rules, audit=take) as box, released(go_on):
        asking = box.popen(python("input('begun\\n')" + ASK, "web.test"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert asking.stdin is not None and asking.stdout is not None and asking.stdout.readline() == "begun\n"
        assert entered.wait(60)
        deadline = time.monotonic() + 60
        while not box._guest.is_behind() and time.monotonic() < deadline:
            box.run(["true"])  # records, which have to wait now
            box._guest._records.pull()
        asking.stdin.write("\n")
        asking.stdin.flush()
        assert box._guest.is_behind()
        go_on.set()
        assert asking.stdout.read() == "93.184.215.14\n"
    assert told(events) == TOLD[:1]
