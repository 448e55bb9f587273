"""sandbox.metrics(): what every guest's own summary says, added up, whatever becomes of the guests."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Limits, Metrics, Sandbox, _audit
from sandbox._audit import AuditSummary
from sandbox._metrics import Latency, Totals, added
from sandbox.prometheus import Collector
from tests.test_audit import record
from tests.test_byte_limits import TWO, sink
from tests.test_internet import python

LOOP = "import os\nfor i in range({}): os.access('/metered', 0)"


@pytest.fixture(autouse=True)
def one_before() -> None:
    """The first guest of a process may be made twice, to see which walls stand."""
    sandbox.run(["true"])


def since(before: Metrics) -> tuple[int, AuditSummary]:
    """Guests that were made since then, and what was served."""
    now = sandbox.metrics()
    return now.started - before.started, now.served.since(before.served)


def test_a_guest_that_is_gone_is_still_counted(tmp_path: Path) -> None:
    """As the records of its trail say, call by call."""
    before = sandbox.metrics()
    path = tmp_path / "audit"
    sandbox.run("cat /etc/hostname /nowhere; echo > /etc/x", shell=True, audit=path)
    started, served = since(before)
    counted: dict[str, list[int]] = {}
    for event in _audit.load(path):
        counted.setdefault(event.call, [0, 0, 0])[("denied", "failed", "done").index(event.verdict)] += 1
    assert started == 1 and served.calls == {call: tuple(row) for call, row in counted.items()}
    assert served.refused.get("openat") == 1
    assert sandbox.metrics().record_bytes > before.record_bytes


def test_bytes() -> None:
    """Of a guest that runs and of one that is gone: what was made for it, and what was kept of its output."""
    before = sandbox.metrics()
    with Sandbox(files={"/work/made": lambda: b"x" * 1000}) as box:
        box.run(["cat", "made"])
        box.run("cat made >&2", shell=True, capture_output=True)
        box.run(["cat", "made"], stdout=subprocess.DEVNULL)
        during = sandbox.metrics()
    after = sandbox.metrics()
    assert during.output_bytes - before.output_bytes == after.output_bytes - before.output_bytes == 2000
    assert during.served_bytes - before.served_bytes >= 3000 and after.served_bytes >= during.served_bytes


def test_bytes_of_the_network() -> None:
    """Of a guest that runs and of one that is gone, as its own usage has them."""
    before = sandbox.metrics()
    with sink(reply=600) as there, Sandbox(network=[there.rule]) as box:
        process = box.popen(python(TWO, there.port), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert carried(sandbox.metrics(), before) == (7500, 601, 0)
        process.communicate("\n")
        used = box.network.usage
    assert carried(sandbox.metrics(), before) == (used.sent, used.received, 0)


def carried(now: Metrics, before: Metrics) -> tuple[int, int, int]:
    return now.sent_bytes - before.sent_bytes, now.received_bytes - before.received_bytes, now.unmetered - before.unmetered


def test_bytes_that_are_not_known() -> None:
    """What was known last stays, and the guest is counted, once."""
    hide = "import struct; s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()"
    script = f"import socket, sys\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.sendall(bytes(999)); print('up', flush=True); input(); {hide}"
    before = sandbox.metrics()
    with sink() as there, Sandbox(network=[there.rule]) as box:
        process = box.popen(python(script, there.port), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert carried(sandbox.metrics(), before) == (999, 0, 0)
        process.communicate("\n")
        assert carried(sandbox.metrics(), before) == (999, 0, 1)
    assert carried(sandbox.metrics(), before) == (999, 0, 1)


def test_guests_that_run() -> None:
    """They are counted while they run, once, and with what they have called so far."""
    before = sandbox.metrics()
    with Sandbox() as one, Sandbox() as other:
        one.run(["cat", "/one"])
        other.run(["cat", "/other"])
        during = sandbox.metrics()
        assert (during.guests - before.guests, during.started - before.started) == (2, 2)
        assert since(before)[1].total == one.audit.total + other.audit.total > 0
        total = one.audit.total + other.audit.total
    after = sandbox.metrics()
    assert after.guests == before.guests and after.started == during.started
    assert since(before)[1].total >= total


def test_calls_never_become_fewer() -> None:
    """While guests come and go, by several threads: no call is counted twice or lost on the way."""
    before, over, seen = sandbox.metrics(), threading.Event(), [0]

    def look() -> None:
        while not over.is_set():
            seen.append(sandbox.metrics().served.total)

    looking = threading.Thread(target=look)
    looking.start()
    totals: list[int] = []
    runs = [threading.Thread(target=lambda: totals.append(sandbox.run(["cat", "/etc/hostname"]).audit.total)) for _ in range(12)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    over.set()
    looking.join()
    assert seen == sorted(seen) and since(before)[0] == 12
    assert since(before)[1].total >= sum(totals)


def test_how_guests_end(tmp_path: Path) -> None:
    """By a limit, by its name; by a fault."""
    before = sandbox.metrics()
    with pytest.raises(sandbox.SandboxError):
        sandbox.run(["sleep", "100"], limits=Limits(wall_seconds=0.2), check=True)

    def bad(_: object) -> None:
        raise ValueError("not this one")

    with pytest.raises(sandbox.GuestFault):
        sandbox.run(["true"], audit=bad)
    after = sandbox.metrics()
    assert Counter(after.exceeded) - Counter(before.exceeded) == {"wall_seconds": 1}
    assert after.failed - before.failed == 1 and since(before)[0] == 2


def test_latency_is_that_of_the_records(tmp_path: Path) -> None:
    """A sample of them: of no guest without an audit trail, and of the first calls of each batch."""
    before = sandbox.metrics().latency
    sandbox.run(["cat", "/etc/hostname"])
    assert sandbox.metrics().latency == before
    path = tmp_path / "audit"
    sandbox.run([sys.executable, "-S", "-c", LOOP.format(30000)], audit=path, check=True)
    after = sandbox.metrics().latency
    durations = [event.duration for event in _audit.load(path)]
    assert 64 <= after.count - before.count < len(durations)
    assert 0 < after.total - before.total <= sum(durations)
    assert len(after.buckets) == len(after.bounds) + 1 and list(after.bounds) == sorted(after.bounds)


def test_buckets() -> None:
    """What took just as long as a bound is within it; what no bound holds is in the last."""
    meter = Totals()
    durations = (0, 1000, 1001, 5_000_000_000, 2**63)
    for nanoseconds in durations:
        made = bytearray(record(1))
        made[40:48] = nanoseconds.to_bytes(8, "little")
        meter.moved(bytes(made))
    found = meter.metrics(0)
    assert {found.latency.bounds[place]: count for place, count in enumerate(found.latency.buckets[:-1]) if count} == {1e-6: 2, 2e-6: 1, 5.0: 1}
    assert found.latency.buckets[-1] == 1 and found.latency.total == sum(durations) / 1e9
    assert found.record_bytes == 5 * len(record(1))
    meter.moved(b"no record")
    assert meter.metrics(0).latency == found.latency


def test_it_is_a_value() -> None:
    found = sandbox.metrics()
    for thing, name in ((found, "guests"), (found.latency, "total")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 3)
    with pytest.raises(TypeError):
        found.exceeded["memory"] = 1  # type: ignore[index]
    assert added([AuditSummary({1: (1, 2, 3)}), AuditSummary({1: (1, 0, 0), 2: (0, 0, 1)})]).counts == {1: (2, 2, 3), 2: (0, 0, 1)}


def test_a_forked_child_begins_anew() -> None:
    """Its parent's guests are not its own, and asking makes no Supervisor."""
    with Sandbox() as box:
        box.run(["true"])
        pid = os.fork()
        if pid == 0:
            os._exit(0 if sandbox.metrics() == Metrics() and threading.active_count() == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert sandbox.metrics().guests >= 1


# ---- Prometheus -----------------------------------------------------------------------------------------------------


def exposed() -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """What a scrape gives, as Prometheus's own parser reads it."""
    prometheus = pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    from prometheus_client.parser import text_string_to_metric_families

    registry = prometheus.CollectorRegistry()
    registry.register(Collector())
    found: dict[str, dict[Any, float]] = {}
    for family in text_string_to_metric_families(prometheus.generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_prometheus(tmp_path: Path) -> None:
    """Every number, under its name."""
    sandbox.run("cat /nowhere; echo > /etc/x", shell=True, audit=tmp_path / "audit")
    with Sandbox() as box:
        box.run(["true"])
        found, now = exposed(), sandbox.metrics()
    single = {"sandbox_guests": now.guests, "sandbox_guests_started_total": now.started, "sandbox_guests_failed_total": now.failed}
    single |= {"sandbox_record_bytes_total": now.record_bytes, "sandbox_peak_memory_bytes": now.peak_memory}
    single |= {"sandbox_network_sent_bytes_total": now.sent_bytes, "sandbox_network_received_bytes_total": now.received_bytes}
    single |= {"sandbox_guests_unmetered_total": now.unmetered}
    single |= {"sandbox_served_bytes_total": now.served_bytes, "sandbox_output_bytes_total": now.output_bytes}
    for name, value in single.items():
        assert found[name] == {(): value}, name
    for call, row in now.served.calls.items():
        for verdict, count in zip(("denied", "failed", "done"), row):
            assert found["sandbox_calls_total"][("call", call), ("verdict", verdict)] == float(count)
    assert found["sandbox_call_seconds_count"][()] == now.latency.count == found["sandbox_call_seconds_bucket"][(("le", "+Inf"),)]
    assert found["sandbox_call_seconds_sum"][()] == pytest.approx(now.latency.total)
    buckets = list(found["sandbox_call_seconds_bucket"].values())
    assert buckets == sorted(buckets) and len(buckets) == len(Latency().buckets)


def test_every_metric_has_its_line() -> None:
    """docs/audit.md names each family, and no other."""
    pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    page = (Path(__file__).parent.parent / "docs" / "audit.md").read_text("utf-8")
    table = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `sandbox_"))
    documented = {name.removesuffix("_total") for name in re.findall(r"`(sandbox_\w+)", table)}
    assert documented == {family.name for family in Collector().collect()}


def test_prometheus_is_not_needed_before_it_is_asked() -> None:
    """The module can be imported without the library."""
    code = "import sys; sys.modules['prometheus_client'] = None; import sandbox.prometheus as p; p.Collector()"
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
