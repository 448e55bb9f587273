"""What benchmarks/ makes of figures: JSON, tables, the page, and what a change did. All figures here are made up."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

for module in ("matplotlib", "pyperf", "rich", "scipy"):
    pytest.importorskip(module, reason=f"no {module}: pip install -e '.[bench]'")

import pyperf  # noqa: E402

from benchmarks import publish as published  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks._build import HERE  # noqa: E402
from benchmarks.compare import changes, compare  # noqa: E402
from benchmarks.figures import CASES, FIGURES, figures_table, needed  # noqa: E402
from benchmarks.questions import FULL, QUESTIONS, Setup, Unmade  # noqa: E402
from benchmarks.report import page  # noqa: E402
from benchmarks.report.drawing import COLOURS  # noqa: E402
from benchmarks.result import Result, RunnerInfo, Series, load, save  # noqa: E402
from benchmarks.run import Choice, run  # noqa: E402
from benchmarks.runners import RUNNERS  # noqa: E402
from benchmarks.summary import number, summarize, times_native, with_unit  # noqa: E402
from benchmarks.tables import tables  # noqa: E402

SAFETY = {"files": "no", "sockets": "no", "names": "no", "reach": "everything"}
WAVES = [0.98, 1.0, 1.02, 0.99, 1.01, 1.03, 0.97, 1.0, 1.005, 0.995]


def result(*series: Series, skipped: str = "") -> Result:
    names = dict.fromkeys(one.runner for one in series)
    runners = {name: RunnerInfo("1", "", SAFETY) for name in names}
    if skipped:
        runners["ghost"] = RunnerInfo("", skipped, SAFETY)
    return Result("now", {"rounds": 10}, {"kernel": "6", "cpus": 2}, runners, {"work: npm ci": "no npm"}, list(series))


def values(middle: float, count: int = 10) -> list[float]:
    return [middle * wave for wave in WAVES[:count]]


def pair(native: float, sandbox: float, count: int = 10, **more: Any) -> Result:
    return result(
        Series("calls", "stat", "native", "idle", "ns", values(native, count), **more),
        Series("calls", "stat", "sandbox", "idle", "ns", values(sandbox, count)[::-1], **more),
    )


def verdict(old: Result, new: Result, runner: str = "sandbox") -> str:
    (change,) = [change for change in changes(old, new) if change.key[2] == runner]
    return change.verdict


def test_json_round_trip(tmp_path: Path) -> None:
    before = pair(100, 900, curve="threads", x=4)
    before.series.append(Series("work", "npm", "sandbox", "busy", "ms", failed="status 1"))
    save(tmp_path / "deep" / "result.json", before)
    assert load(tmp_path / "deep" / "result.json") == before


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"format": 2}', '{"format": 1, "made": "now"}'])
def test_another_format_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(ValueError, match="no result of format 1"):
        load(tmp_path / "old.json")
    assert main(["table", str(tmp_path / "old.json")]) == 2
    assert "old.json" in capsys.readouterr().err


def test_verdicts() -> None:
    """Slower and faster are said where the test shows it; a small change is none, and few rounds show nothing."""
    assert verdict(pair(100, 900), pair(100, 1100)) == "slower"
    assert verdict(pair(100, 900), pair(100, 700)) == "faster"
    assert verdict(pair(100, 900), pair(100, 900)) == "no difference shown"
    assert verdict(pair(100, 900), pair(100, 908)) == "no difference shown"
    assert verdict(pair(100, 900, 3), pair(100, 1900, 3)) == "too few rounds"


def test_a_slower_machine_is_no_change() -> None:
    """Values are compared as times native; native's own are shown as they are."""
    assert verdict(pair(100, 900), pair(200, 1800)) == "no difference shown"
    assert verdict(pair(100, 900), pair(200, 1800), "native") == "slower"


def test_many_rows_do_not_find_a_change_by_chance() -> None:
    """One row in a hundred with p below 0.05 is none: p is adjusted for their number."""
    names = [f"call {number}" for number in range(100)]
    old = result(*(Series("calls", name, "sandbox", "idle", "ns", values(900)) for name in names))
    new = result(*(Series("calls", name, "sandbox", "idle", "ns", values(900)) for name in names))
    new.series[7].values = [value * 1.025 for value in values(900)]
    alone = result(new.series[7])
    assert verdict(result(old.series[7]), alone) == "slower"
    assert {change.verdict for change in changes(old, new)} == {"no difference shown"}


def test_compare_is_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, made in (("old", pair(100, 900)), ("new", pair(100, 1800))):
        save(tmp_path / f"{name}.json", made)
    assert main(["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")]) == 0
    assert re.search(
        r"\| sandbox \| idle \| × native \| 9\.\d+ \| 18\.\d+ \| 2\.00× \| < 0\.001 \| slower \|",
        capsys.readouterr().out,
    )
    assert compare(pair(1, 2), result()) == "nothing in common\n"
    assert main(["compare", str(tmp_path / "old.json")]) == 2


def test_compare_says_what_else_is_not_alike() -> None:
    """Another machine or version may be the reason as well; and who fails now is named, not only counted."""
    old, new = pair(100, 900), pair(100, 900)
    assert compare(old, new).endswith("\n\n2 no difference shown; failures: 0 before, 0 after\n")
    old.series.append(Series("work", "tar c", "sandbox", "idle", "ms", values(3)))
    old.series.append(Series("work", "npm ci", "sandbox", "idle", "ms", values(3)))
    new.series.append(Series("work", "tar c", "sandbox", "idle", "ms", failed="status 1"))
    new.machine["kernel"] = "7"
    new.runners["native"] = RunnerInfo("2", "", SAFETY)
    assert compare(old, new).splitlines()[-4:] == [
        *("not alike: kernel: 6 before, 7 after", "not alike: native: 1 before, 2 after"),
        *("fails now: work, tar c, sandbox", "not asked now: work, npm ci, sandbox"),
    ]


def test_tables_say_times_native_and_why_not() -> None:
    made = pair(100, 900)
    made.series.append(Series("calls", "open", "sandbox", "idle", "ns", failed="status 1\nand | more"))
    text = tables(made)
    assert re.search(r"\| stat \| idle \| 100 ns ±\d% \| 9\.\d+× ±\d% \|", text)
    assert "| open | idle | – | failed |" in text
    assert "- sandbox failed: status 1 and \\| more in calls: open" in text and "- all left out: no npm" in text


def test_the_page_is_self_contained_and_escapes(tmp_path: Path) -> None:
    """Nothing is loaded from elsewhere, identifiers are unique and led to, and no text of a result is markup."""
    evil = '<script>alert("$x$")</script> & _hidden'
    made = result(
        *(
            Series("calls", evil, name, core, "ns", values(scale))
            for core in ("idle", "busy")
            for name, scale in (("native", 100), (evil, 900))
        ),
        *(Series("scaling", f"x {x}", evil, "idle", "ms", values(x), curve=evil, x=x) for x in (1, 2, 1000)),
        Series("work", evil, evil, "idle", "ms", failed=evil),
        Series("work", evil, "native", "idle", "ms", values(3)),
        skipped=evil,
    )
    made.machine[evil] = evil
    text = page(made)
    assert "<script" not in text
    assert "&lt;script&gt;" in text and text.count("<svg") == 7
    assert not re.search(r"<(img|link|iframe|object|script)|@import|\bsrc=|url\((?!#)", text)
    assert not re.search(r'href="(?!#)', text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)
    save(tmp_path / "result.json", made)
    assert main(["report", str(tmp_path / "result.json")]) == 0
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_pyperf_takes_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its statistics are of the same values, in its units; and its check calls those unsteady that are."""
    made = pair(100, 900)
    made.series += [Series("work", "x", "native", "idle", "KiB", [2.0] * 10), Series("work", "y", "native", "idle", "µs per request", [1.0, 90.0] * 5),
                    Series("start", "z", "native", "idle", "×", [0.5])]  # fmt: skip
    save(tmp_path / "result.json", made)
    assert main(["pyperf", str(tmp_path / "result.json"), str(tmp_path / "suite.json")]) == 0
    assert capsys.readouterr().out.startswith("4 series")
    suite = pyperf.BenchmarkSuite.load(str(tmp_path / "suite.json"))
    assert suite.get_benchmark("calls, stat, sandbox, idle").median() == pytest.approx(median(values(900)) * 1e-9)
    assert suite.get_benchmark("work, x, native, idle").mean() == 2048
    checked = subprocess.run([sys.executable, "-m", "pyperf", "check", str(tmp_path / "suite.json")], capture_output=True, text=True)
    _, steady, unsteady = re.split("work, [xy], native, idle", checked.stdout)
    assert "unstable" not in steady and "standard deviation" in unsteady
    save(tmp_path / "empty.json", result())
    assert main(["pyperf", str(tmp_path / "empty.json"), str(tmp_path / "suite.json")]) == 2


def test_figures_are_quotients_of_what_was_measured_together() -> None:
    """By rounds where both have as many values; what misses is bold, and what was not measured is left out."""
    made = pair(100, 120)
    made.series += [Series("density", f"{what} 1000", who, "busy", "KiB", [size]) for what in ("memory of an idle guest, of",) for who, size in (("native", 100.0), ("sandbox", 1100.0))]
    made.series += [Series("calls", "stat", "floor", "idle", "ns", values(90)), Series("calls", "getppid", "sandbox", "idle", "ns", values(9))]
    text = figures_table(made)
    assert re.search(r"sandbox: stat, divided by floor's \| ≤ 1.25 \| \*\*1.3\d\*\* \| – \|", text)
    assert re.search(r"sandbox: memory of an idle guest, of 1000, less native's \| ≤ 1 465 \| – \| 1 000 \|", text)
    assert text.count("\n") == 3 and figures_table(result()) == ""


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_figure_can_be_measured(name: str, tmp_path: Path) -> None:
    """Its cases, series and runners are there, at full scale."""
    question, asked = QUESTIONS[name], Setup(tmp_path, FULL)
    cases = dict(question.cases(asked))
    assert needed(name).keys() <= cases.keys() and (needed(name) or name not in {figure.question for figure in FIGURES})
    runners = {runner for runners in needed(name).values() for runner in runners}
    assert runners <= RUNNERS.keys() - set(question.without)
    for figure in FIGURES:
        for _, series, _ in figure.terms() if figure.question == name else ():
            case = CASES.get(series, series)
            try:  # work is made of many files, and its series are called as its cases
                assert name == "work" or series in {part.name for part in cases[case]().parts}
            except Unmade as reason:
                assert "no " in str(reason)


def test_only_what_figures_need_is_asked(tmp_path: Path) -> None:
    choice = Choice(["calls"], ["native", "floor", "sandbox"], ["getppid", "stat"], ["idle"], 1, "tiny", True, tmp_path)
    assert run(choice) == 0
    assert {series.key[1:3] for series in load(tmp_path / "result.json").series} == {
        *(("getppid", who) for who in ("native", "sandbox")), *(("stat", who) for who in ("native", "floor", "sandbox")),
        *(("fstat", who) for who in ("native", "sandbox")), *(("fstat-at", who) for who in ("native", "sandbox")),
    }  # fmt: skip


def test_a_published_result_is_in_the_readmes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables take the place of the last ones, and its JSON is kept."""
    short, whole = tmp_path / "README.md", tmp_path / "all.md"
    for path in (short, whole):
        path.write_text(f"before\n{published.BEGIN}\nSTALE\n{published.END}\nafter\n")
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(published, "BLOCKS", dict(zip((short, whole), published.BLOCKS.values())))
    made = pair(100, 900)
    made.made = "2026-11-26T10:00:00+00:00"
    save(tmp_path / "result.json", made)
    assert main(["publish", str(tmp_path / "result.json")]) == 0
    assert load(tmp_path / "results" / "2026-11-26.json") == made
    for path in (short, whole):
        text = path.read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and "STALE" not in text and "9.0" in text
        assert published.with_block(text, published.block(path)) == text
    with pytest.raises(ValueError, match="no place"):
        published.with_block("nothing", "")


@pytest.mark.parametrize("path", published.BLOCKS, ids=lambda path: str(path.relative_to(HERE.parent)))
def test_a_readme_has_the_tables_of_the_newest_result(path: Path) -> None:
    text = path.read_text()
    assert published.with_block(text, published.block(path)) == text


def test_reach_is_shown_and_what_was_not_said_stands_out() -> None:
    said = {**SAFETY, "reaches": ["read"]}
    made = pair(100, 900)
    made.runners["sandbox"] = RunnerInfo("1", "", said, {"read": True, "see": True, "end": False})
    for text in (page(made), tables(made)):
        assert "reads a file beside its own, sees a process of the host (NOT SAID)" in text
        assert "not tried" in text


def test_no_two_runners_have_one_colour() -> None:
    assert set(COLOURS) == set(RUNNERS) and len(set(COLOURS.values())) == len(COLOURS)


def test_a_result_without_figures_makes_a_page() -> None:
    assert "What there is no figure of" in page(
        result(Series("work", "npm ci", "sandbox", "idle", "ms", failed="status 1"))
    )


def test_numbers() -> None:
    assert [number(value) for value in (0.123, 12.34, 123.4, 12345.6)] == ["0.12", "12.3", "123", "12 346"]
    assert [with_unit(*pair) for pair in ((999.0, "ns"), (1500.0, "ns"), (2048.0, "KiB"), (1e9, "ns"))] == [
        *("999 ns", "1.50 µs", "2.00 MiB", "1.00 s"),
    ]
    found = summarize([1.0, 2.0, 3.0, 100.0])
    assert (found.median, found.low, found.high, found.count) == (2.5, 1.75, 27.25, 4)
    native, other = (Series("q", "n", "r", "idle", "ns", each) for each in ([1.0, 2.0], [10.0, 40.0]))
    assert times_native(other, native) == [10.0, 20.0]
    assert times_native(other, None) is None


def test_a_run_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, page and table in one folder; the machine without its name."""
    choice = Choice(["calls"], ["native", "floor"], ["getppid", "stat-miss"], ["idle"], 2, "tiny", output=tmp_path)
    assert run(choice) == 0
    made = load(tmp_path / "result.json")
    assert {series.name for series in made.series} == {"getppid", "stat-miss"}
    assert all(len(series.values) == 2 for series in made.series)
    assert made.machine["kernel"] and made.machine["revision"] and "hostname" not in made.machine
    assert made.runners["native"].safety["reach"]
    assert "| stat-miss | idle |" in capsys.readouterr().out
    assert (tmp_path / "table.md").exists() and "<svg" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("words", [["--runners", "nobody"], ["nothing"], ["calls", "--rounds", "0"]])
def test_unknown_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
