"""The harness of benchmarks/ asks what it says, of everybody alike, and takes no figure from who fails. No times are judged here."""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

from benchmarks import instructions
from benchmarks._build import build
from benchmarks._processors import first_only
from benchmarks.ask import Asking
from benchmarks.questions import QUESTIONS, TINY, Case, Part, Question, Reading, Setup
from benchmarks.questions.cache import cached_kib, forget
from benchmarks.questions.calls import call_names
from benchmarks.questions.case import one, ready
from benchmarks.reach import tried
from benchmarks.result import Series
from benchmarks.runners import RUNNERS, WAYS, Failed, Job, NotOffered, Runner, Safety, find_runners
from benchmarks.runners.commands import CommandRunner
from tests.processes import children

pytestmark = pytest.mark.skipif(
    subprocess.run(["gcc", "--version"], capture_output=True).returncode != 0, reason="no gcc"
)
NOTHING = Safety("no", "no", "no", "everything")


def quiet(_: str) -> None:
    pass


def ask(question: Question, where: Path, *runners: Runner, rounds: int = 1) -> tuple[list[Series], dict[str, str]]:
    asking = Asking({runner.name: runner for runner in runners}, rounds, ["idle"], quiet, quiet)
    return asking.ask(question, Setup(where, TINY))


def made_up(take: Callable[[Runner], Reading]) -> Question:
    """A question of one case."""
    return Question("made up", "Made up", lambda _: [("it", lambda: one("it", "ms", take))])


def wrapper(name: str, *prefix: str, program: str = "") -> CommandRunner:
    return CommandRunner(name, program, lambda _: prefix, NOTHING, says=lambda _: "1")


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question(name: str, tmp_path: Path) -> None:
    """Each case gives values natively and inside, and the same results; one that cannot be made says what is missing."""
    here, _, skipped = find_runners(["native", "sandbox"])
    assert not skipped
    series, unmade = ask(QUESTIONS[name], tmp_path, *here.values())
    for one_of in series:
        assert not one_of.failed, one_of
        assert one_of.skipped or (one_of.values and all(value != 0 for value in one_of.values)), one_of
    assert {one_of.runner for one_of in series} == {"native", "sandbox"}
    assert all("no " in why for why in unmade.values()), unmade


def test_every_call_is_timed(tmp_path: Path) -> None:
    """guests/calls.c makes each call that it lists and says how long it takes."""
    command = [str(build("calls")), "--dir", str(tmp_path), "--count", "2"]
    rows = [json.loads(line) for line in subprocess.run(command, capture_output=True, check=True).stdout.splitlines()]
    assert [row["name"] for row in rows] == call_names()
    assert all(row["ns"] > 0 and row["count"] == 2 for row in rows)


def test_threads_share_the_calls(tmp_path: Path) -> None:
    """All together they make as many as is said."""
    counted = [str(build("floor")), "--count", "--", str(build("calls")), "--count"]
    told = [subprocess.run([*counted, times, "--threads", "3", "stat-miss"], cwd=tmp_path, capture_output=True, text=True) for times in ("7", "10007")]
    if "seccomp" in told[0].stderr or "SYNC_WAKE_UP" in told[0].stderr:
        pytest.skip(told[0].stderr)
    assert [json.loads(done.stdout)["count"] for done in told] == [7, 10007]
    few, many = (int(re.findall(r"served (\d+) stats", done.stderr)[0]) for done in told)
    assert many - few == 10000


def test_calls_that_wait_are_known_to_have_waited(tmp_path: Path) -> None:
    """A probe beside blocked calls is no figure where one of them came back meanwhile: here somebody opens the FIFO's other end."""
    command = [str(build("calls")), "--dir", str(tmp_path), "--blocked", "5", "--probe"]
    assert json.loads(subprocess.run([*command, "5", "stat"], capture_output=True, check=True).stdout)["count"] > 0
    with subprocess.Popen([*command, "60000", "stat"], stderr=subprocess.PIPE) as probing:
        while not (tmp_path / "calls.fifo").exists():
            assert probing.poll() is None
        os.close(os.open(tmp_path / "calls.fifo", os.O_WRONLY))
        assert probing.stderr is not None and b"released" in probing.stderr.readline() and probing.wait() == 1


def test_one_processor_is_for_all_threads_and_children() -> None:
    """And afterwards each has what it had."""
    before = os.sched_getaffinity(0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with first_only():
            assert pool.submit(os.sched_getaffinity, 0).result() == os.sched_getaffinity(0) == {min(before)}
            assert subprocess.run(["nproc"], capture_output=True, check=True).stdout == b"1\n"
        assert pool.submit(os.sched_getaffinity, 0).result() == os.sched_getaffinity(0) == before


@pytest.mark.parametrize("options", [(), ("--no-pin", "--threads", "2")], ids=["pinned", "two threads"])
def test_floor_serves_and_passes_the_status_on(options: tuple[str, ...], tmp_path: Path) -> None:
    """guests/floor.c serves stat and open truly: a program under it gives the same output and status."""
    (tmp_path / "file").write_text("content")
    command = [str(build("floor")), *options, "--count", "--", "sh", "-c", "cat file; cat missing; test -e file && exit 7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "seccomp" in done.stderr or "SYNC_WAKE_UP" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stdout) == (7, "content")
    assert "missing: No such file" in done.stderr and "served 0 stats" not in done.stderr


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(RUNNERS, "ghost", CommandRunner("ghost", "no-such-program", lambda _: [], NOTHING))
    monkeypatch.setitem(RUNNERS, "broken", wrapper("broken", "sh", "-c", "echo cannot start >&2; exit 3"))
    yield


def test_a_missing_runner_is_skipped_with_a_word(strangers: None) -> None:
    here, versions, skipped = find_runners(["native", "ghost", "broken"])
    assert list(here) == list(versions) == ["native"]
    assert skipped["ghost"] == "no no-such-program on the PATH"
    assert skipped["broken"] == "does not run here: sh: status 3: cannot start"


def test_every_runner_says_how_safe_it_is() -> None:
    for runner in RUNNERS.values():
        assert all((runner.safety.files, runner.safety.sockets, runner.safety.names, runner.safety.reach)), runner.name
        assert set(runner.safety.reaches) <= set(WAYS)


@pytest.fixture(scope="module")
def natively() -> dict[str, bool]:
    """What this user reaches: all of it, but for what is root's."""
    found = tried(RUNNERS["native"])
    assert all(found[way] for way in WAYS if way != "shadow")
    return found


@pytest.mark.parametrize("name", RUNNERS)
def test_what_is_said_of_reach_is_so(name: str, natively: dict[str, bool]) -> None:
    """A guest reaches those of the host's things that its runner is said to leave in reach, and no other."""
    here, _, skipped = find_runners([name])
    if skipped:
        pytest.skip(skipped[name])
    assert tried(here[name]) == {way: natively[way] and way in here[name].safety.reaches for way in WAYS}


@pytest.mark.parametrize("ends", ["serves", "meets"])
def test_a_loopback_of_its_own_is_not_the_host_s(ends: str, tmp_path: Path) -> None:
    """Who has no way to the host's is not asked to take it, and has not failed: those that need a folder, too."""
    for runner in RUNNERS.values():
        if isinstance(runner, CommandRunner) and not runner.outside:
            with pytest.raises(NotOffered), runner.line(Job(["true"], tmp_path, **{ends: 80})):
                pass


def test_wrong_output_is_failed(tmp_path: Path) -> None:
    """A runner whose guest prints something else has no figure, however fast it is."""
    job = Job(["echo", "right"], tmp_path)

    def take(runner: Runner) -> Reading:
        outcome = runner.run(job)
        return Reading((outcome.seconds,), outcome.stdout)

    liar = wrapper("liar", "sh", "-c", "echo wrong")
    native, wrong = ask(made_up(take), tmp_path, RUNNERS["native"], liar)[0]
    assert native.values and not native.failed
    assert (wrong.values, wrong.failed) == ([], "another result than natively")


def test_wrong_files_are_failed(tmp_path: Path) -> None:
    """What the work leaves behind counts, too."""
    (work,) = [work for work in QUESTIONS["work"].cases(Setup(tmp_path, TINY)) if work[0] == "tar c"]
    question = replace(QUESTIONS["work"], cases=lambda _: [work])
    lazy = wrapper("lazy", "true")
    native, wrong = ask(question, tmp_path, RUNNERS["native"], lazy)[0]
    assert native.values and wrong.failed == "another result than natively"


LIES = ['"$@" | sed \'s/"saw": "./"saw": "z/\'', '"$@" | sed "s/hello/hallo/"', '"$@" | sed "s/^forty two/forty/"', '"$@"; printf x >>bench.db']


@pytest.mark.parametrize(
    ("question", "case", "lie"),
    [("calls", "open+close", LIES[0]), ("scaling", "2 guests, calls", LIES[0]), ("scaling", "2 threads, stat", LIES[0]),
     ("scaling", "stat alone", LIES[0]), ("scaling", "stat beside 20 calls that wait", LIES[0]), ("work", "nginx and wrk", LIES[1]),
     ("network", "wrk inside, nginx outside", LIES[1]), ("network", "redis-benchmark, 16 at a time", LIES[2]), ("work", "sqlite", LIES[3])],
)  # fmt: skip
def test_another_answer_is_failed(question: str, case: str, lie: str, tmp_path: Path) -> None:
    """What a call gives, a page, a key, a database: who gives another than natively has no figure, whatever the speed."""
    asked = [(name, make) for name, make in QUESTIONS[question].cases(Setup(tmp_path, TINY)) if name == case]
    liar = replace(wrapper("liar", "sh", "-ec", lie, "sh"), outside=True)
    honest = replace(wrapper("honest", "sh", "-ec", '"$@"', "sh"), outside=True)
    series, unmade = ask(replace(QUESTIONS[question], cases=lambda _: asked), tmp_path, RUNNERS["native"], honest, liar)
    if unmade:
        pytest.skip(str(unmade))
    told = {one.runner: one for one in series}
    assert told["native"].values and told["honest"].values
    assert (told["liar"].values, told["liar"].failed) == ([], "another result than natively")


def test_npm_reads_its_cache(tmp_path: Path) -> None:
    """Without the cache that was filled outside there is nothing to install."""
    asked = [(name, make) for name, make in QUESTIONS["work"].cases(Setup(tmp_path, TINY)) if name == "npm ci"]
    without = wrapper("without", "sh", "-ec", 'mv cache away; "$@" || { rm -rf cache; mv away cache; exit 7; }', "sh")
    series, unmade = ask(replace(QUESTIONS["work"], cases=lambda _: asked), tmp_path, RUNNERS["native"], without)
    if unmade:
        pytest.skip(str(unmade))
    native, other = series
    assert native.values and other.failed.startswith("sh: status 7")


def test_the_floor_of_names_is_its_other_process(tmp_path: Path) -> None:
    """A name is answered by the process that makes sockets: the guest makes no child for it, as it does natively."""
    program, floor = str(build("calls")), str(build("floor"))
    command = ["sh", "-c", 'strace -f -qq -e trace=fork,clone,clone3,vfork -o "$0" "$@"', str(tmp_path / "made")]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no strace that works here")
    made = []
    for before in ([], [floor, "--served", "--"]):
        subprocess.run([*before, *command, program, "--count", "3", "dns-cached"], cwd=tmp_path, check=True, capture_output=True)
        made.append((tmp_path / "made").read_text().count("clone"))
    assert made[0] > made[1] == 0


def test_a_late_failure_takes_the_figures_back(tmp_path: Path) -> None:
    """A runner that fails in the third round has no values of the first two, and is not asked again."""
    asked: list[str] = []

    def take(runner: Runner) -> Reading:
        asked.append(runner.name)
        if runner.name == "other" and asked.count("other") == 3:
            raise Failed("tired")
        return Reading((1.0,))

    native, other = ask(made_up(take), tmp_path, RUNNERS["native"], wrapper("other"), rounds=5)[0]
    assert (len(native.values), other.values, other.failed, asked.count("other")) == (5, [], "tired", 3)


def test_a_guest_that_never_is_ready_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not hold up the run."""
    monkeypatch.setattr("benchmarks.questions.case.TIMEOUT", 0.1)
    with pytest.raises(Failed, match="^it was not ready after 0.1 seconds$"), ready(RUNNERS["native"], Job(["cat"], tmp_path)):
        pass


def test_idle_guests_leave_no_process(tmp_path: Path) -> None:
    """Nor what comes to us when its parent has ended, as the inner process of bubblewrap does."""
    here, _, skipped = find_runners(["bubblewrap"])
    if skipped:
        pytest.skip(str(skipped))
    before = children()
    series, _ = ask(QUESTIONS["density"], tmp_path, *here.values())
    assert all(one.values for one in series)
    assert set(children()) <= set(before)


def test_what_is_not_offered_is_no_failure(tmp_path: Path) -> None:
    def take(runner: Runner) -> Reading:
        if runner.name == "other":
            raise NotOffered("not here")
        return Reading((1.0,))

    _, other = ask(made_up(take), tmp_path, RUNNERS["native"], wrapper("other"))[0]
    assert (other.values, other.failed, other.skipped) == ([], "", "not here")


def test_runners_take_turns(tmp_path: Path) -> None:
    """Round after round, in an order that turns; a case with several parts gives a series for each."""
    order: list[str] = []

    def take(runner: Runner) -> Reading:
        order.append(runner.name)
        return Reading((1.0, 2.0))

    case = Case((Part("a", "ms"), Part("b", "KiB", "curve", 4)), take, rounds=2)
    question = Question("q", "Q", lambda _: [("it", lambda: case)])
    series = ask(question, tmp_path, RUNNERS["native"], wrapper("other"), rounds=3)[0]
    assert order == ["native", "other", "native", "other", "other", "native"]  # the first says what is expected
    assert [(one.name, one.runner, one.values, one.x) for one in series][:2] == [
        ("a", "native", [1.0, 1.0], 0.0),
        ("b", "native", [2.0, 2.0], 4),
    ]


def test_a_case_that_native_fails_is_left_out(tmp_path: Path) -> None:
    def take(runner: Runner) -> Reading:
        raise Failed("no such luck")

    assert ask(made_up(take), tmp_path, RUNNERS["native"]) == ([], {"made up: it": "natively: no such luck"})


def test_what_stayed_in_the_cache_is_said() -> None:
    """A file that nobody has mapped leaves the cache, with its content on the disk; one that this process has in use stays, and is counted."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        files = [Path(folder, name) for name in ("free", "used")]
        for file in files:
            file.write_bytes(b"x" * 65536)
        os.sync()
        with files[1].open("rb") as used, mmap.mmap(used.fileno(), 0, access=mmap.ACCESS_READ) as held:
            assert held[::4096] == b"x" * 16
            if cached_kib([Path(folder)]) != 128:
                pytest.skip("the files of /var/tmp are in no cache that mincore knows")
            forget([Path(folder)])
            assert (cached_kib(files[:1]), cached_kib(files[1:])) == (0, 64)
        forget(files)
        assert cached_kib(files) == 0 and files[0].read_bytes() == b"x" * 65536


def test_the_driven_sentry_answers() -> None:
    """guests/served.c still fits the sentry: it checks each answer itself."""
    for call in instructions.CALLS:
        said = json.loads(subprocess.check_output([str(instructions.program()), call, "5"]))
        assert said == {"answered": 5, "looked": 5}


@pytest.mark.parametrize(
    ("instructions_now", "calls_now", "compiler", "status"),
    [(100, 4, "gcc", 0), (101, 4, "gcc", 0), (90, 3, "gcc", 0), (104, 4, "gcc", 1), (100, 5, "gcc", 1), (200, 6, "clang", 2),
     (100, 7, "clang", 1), (100, None, "gcc", 2)],
)  # fmt: skip
def test_more_instructions_are_noticed(instructions_now: int, calls_now: Optional[int], compiler: str, status: int) -> None:
    """More than two percent, one more system call, or more than the ceiling by whatever compiler, of which nothing else can be said."""

    def counted(number: int, calls: Optional[int], by: str) -> instructions.Counted:
        return instructions.Counted("callgrind", by, {"stat": 100, "open": number}, {"stat": 4, "open": calls})

    kept = counted(100, 4, "gcc").to_json()
    found, words = instructions.compare(kept, counted(instructions_now, calls_now, compiler))
    assert found == status and words


def test_a_new_case_is_no_worse() -> None:
    """What nothing is kept of cannot have become more; the others are compared all the same."""
    kept = instructions.Counted("callgrind", "gcc", {"stat": 100}, {"stat": 4}).to_json()
    now = instructions.Counted("callgrind", "gcc", {"stat": 110, "stat-relative": 9000}, {"stat": 4, "stat-relative": 5})
    status, words = instructions.compare(kept, now)
    assert status == 1 and words[1] == "stat-relative: nothing is kept of it"


@pytest.mark.skipif(not (shutil.which("valgrind") and shutil.which("strace")), reason="no valgrind and strace")
def test_no_served_call_takes_more_system_calls_than_it_may() -> None:
    """Counted here, and the same each time: at most four for a stat and six for an open beyond receive and reply."""
    try:
        counted = instructions.count()
    except instructions.Unable as why:
        pytest.skip(str(why))
    assert all(number > 0 for number in counted.instructions.values())
    assert all(calls is not None and 0 < calls <= instructions.CEILING[call] for call, calls in counted.syscalls.items())


INSTALL = Path(instructions.HERE, "install_peers.sh")


@pytest.mark.parametrize("checker", ["sh -n", "bash -n", "shellcheck"])
def test_the_installer_is_a_sound_script(checker: str) -> None:
    if shutil.which(checker.split()[0]) is None:
        pytest.skip(f"no {checker.split()[0]}")
    done = subprocess.run([*checker.split(), str(INSTALL)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installer_and_the_runners_know_the_same_peers() -> None:
    """What it installs is a runner, and each runner that is not this project's, or a yardstick of it, is installed."""
    (named,) = re.findall('^PEERS="(.*)"', INSTALL.read_text(), re.MULTILINE)
    programs = {getattr(runner, "program", "") or getattr(runner, "package", "") for runner in RUNNERS.values()}
    debian = {"bubblewrap": "bwrap"}  # a package that is called otherwise than its program
    assert {debian.get(name, name) for name in named.split()} == programs - {"", "sandbox"}
