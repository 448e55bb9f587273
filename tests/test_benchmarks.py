"""The harness of benchmarks/ runs and its results have their form. No times are judged here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import bench_calls
from benchmarks.__main__ import main
from benchmarks._build import build
from benchmarks.compare import compare, tables
from benchmarks.measure import Figure, Samples, load

pytestmark = pytest.mark.skipif(
    subprocess.run(["gcc", "--version"], capture_output=True).returncode != 0, reason="no gcc"
)


def test_every_call_is_timed(tmp_path: Path) -> None:
    """guests/calls.c makes each call that it lists and says how long it takes."""
    command = [str(build("calls")), "--dir", str(tmp_path), "--count", "2"]
    rows = [json.loads(line) for line in subprocess.run(command, capture_output=True, check=True).stdout.splitlines()]
    assert [row["name"] for row in rows] == bench_calls.names()
    assert all(row["ns"] > 0 and row["count"] == 2 for row in rows)


def test_floor_serves_and_passes_the_status_on(tmp_path: Path) -> None:
    """guests/floor.c serves stat and open truly: a program under it gives the same output and status."""
    (tmp_path / "file").write_text("content")
    command = [str(build("floor")), "--count", "--", "sh", "-c", "cat file; cat missing; test -e file && exit 7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "seccomp" in done.stderr or "SYNC_WAKE_UP" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stdout) == (7, "content")
    assert "missing: No such file" in done.stderr and "served 0 stats" not in done.stderr


def test_a_run_is_kept_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m benchmarks` prints a table, keeps JSON, and compares two of them."""
    output = tmp_path / "result.json"
    arguments = ["calls", "--runners", "native", "--only", "getppid,stat", "--core", "idle", "--repeat", "1"]
    assert main([*arguments, "--output", str(output)]) == 0
    assert "| stat | idle |" in capsys.readouterr().out
    about, figures = load(output)
    assert about["runners"] and {figure.what for figure in figures} == {"getppid", "stat"}
    assert main(["compare", str(output), str(output)]) == 0
    assert main(["--runners", "no-such-runner"]) == 2


def test_ratios() -> None:
    """Tables give ratios to native and to the floor; compare gives the change of the ratio, not of the time."""
    old = _figures({"native": 100.0, "floor": 1000.0, "sandbox": 1500.0})
    new = _figures({"native": 200.0, "floor": 2000.0, "sandbox": 6000.0})
    assert "1 500 (15.0×) | 1.50×" in tables(old)
    changed = compare(old, new)
    assert "| sandbox | idle | 15.0 | 30.0 | 2.00× | slower |" in changed
    assert "| floor | idle | 10.0 | 10.0 | 1.00× |  |" in changed


def test_a_failure_is_no_figure() -> None:
    """What fails is kept with its reason, is not tried again, and makes no figure."""
    samples, tried = Samples("calls", "ns"), []

    def fail() -> None:
        tried.append(1)
        raise RuntimeError("broken")

    samples.attempt("stat", "native", fail)
    samples.attempt("stat", "native", fail)
    assert tried == [1] and samples.figures() == []
    assert samples.failures == {("stat", "native"): "RuntimeError: broken"}


def _figures(medians: dict[str, float]) -> list[Figure]:
    return [Figure("calls", "stat", name, "idle", "ns", value, value, value, 1) for name, value in medians.items()]
