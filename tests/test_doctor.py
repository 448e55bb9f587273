"""sandbox doctor: what stands, what does not, and what to do about each thing that does not."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import SandboxError, _cli_advice, doctor
from sandbox._cli_advice import advise
from sandbox._messages import WALLS
from tests.test_cli import call


@pytest.fixture(scope="module")
def report() -> doctor.Report:
    return doctor.examine()


def test_text_and_json_say_the_same(report: doctor.Report) -> None:
    told, text = json.loads(report.to_json()), str(report)
    assert set(told) == set(doctor.Report.__dataclass_fields__)
    for name in ("versions", "limits", "reach", "advice"):
        assert all(value in text for value in told[name].values())
    assert set(told["walls"]) == set(WALLS) and "python" in told["versions"]


def test_everything_that_is_missing_has_advice(report: doctor.Report) -> None:
    """And nothing else has."""
    missing = {name for name, why in report.walls.items() if why}
    missing |= {what for what, there in report.features.items() if not there}
    missing |= {"pidfd_getfd"} if report.borrow != "pidfd_getfd" else set()
    missing |= {"commands"} if report.error else set()
    assert set(report.advice) == missing and all(report.advice.values())


def test_nothing_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no guest can be made, doctor says why and what to do, in both forms; the exit status is 1."""

    def refused(*_: object) -> None:
        raise SandboxError("sentry x: cannot be started: Permission denied") from PermissionError(errno.EACCES, "x")

    monkeypatch.setattr(doctor, "start_guest", refused)
    found = doctor.examine()
    assert found.error.startswith("sentry x") and found.borrow == "unknown" and set(found.advice) >= {"commands"}
    assert str(found).splitlines()[1] == f"  do: {found.advice['commands']}"
    assert not set(found.advice) & (set(WALLS) - {"cgroup"}), "what is unknown is not called missing"


def test_missing_walls_are_explained(report: doctor.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in the line below it."""
    walls = dict.fromkeys(WALLS, (("Operation not permitted"), errno.EPERM))
    seen = doctor._Seen(walls, 0, False)
    monkeypatch.setattr(doctor, "_seen", lambda: seen)
    monkeypatch.setattr(doctor._cgroup, "create", lambda *_: None)
    monkeypatch.setattr(doctor.os, "uname", lambda: type("Name", (), {"release": "5.4.0-1-x"}))
    found = doctor.examine()
    assert set(found.advice) == {*WALLS, *found.features, "pidfd_getfd"}
    lines = str(found).splitlines()
    for name, do in found.advice.items():
        assert any(line.strip() == f"do: {do}" for line in lines), name
    at = next(number for number, line in enumerate(lines) if line.startswith("  landlock "))
    assert "no: Operation not permitted" in lines[at] and lines[at + 1].strip() == f"do: {found.advice['landlock']}"
    assert "Linux 5.19 or later" in found.advice.values()
    assert str(replace(report, advice={})).count("do: ") == 0


SETTINGS = {
    "user/max_user_namespaces": ("0", "userns", "user.max_user_namespaces="),
    "kernel/unprivileged_userns_clone": ("0", "pidns", "unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "mountns", "AppArmor"),
    "kernel/yama/ptrace_scope": ("3", "commands", "ptrace_scope=1"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_setting_that_is_in_the_way_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, thing, text = SETTINGS[name]
    monkeypatch.setattr(_cli_advice, "read", lambda path: value if path == f"/proc/sys/{name}" else "")
    assert text in advise(thing, errno.EPERM)
    monkeypatch.setattr(_cli_advice, "read", lambda path: "")
    assert text not in advise(thing, errno.EPERM)


def test_a_filter_around_us_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container."""
    monkeypatch.setattr(_cli_advice, "read", lambda path: "Name:\tx\nSeccomp:\t2\n" if path == "/proc/self/status" else "")
    for thing in ("userns", "mountns", "landlock", "commands"):
        assert "filter" in advise(thing, errno.EPERM)


@pytest.mark.parametrize(
    ("thing", "number", "text"),
    [
        ("landlock", errno.EOPNOTSUPP, "lsm="),
        ("landlock", errno.ENOSYS, "5.13"),
        ("landlock-scope", errno.ENOSYS, "6.12"),
        ("netns", errno.ENOSPC, "max_"),
        ("netns", errno.EINVAL, "CONFIG_"),
        ("mountns", errno.EPERM, "/proc"),
        ("cgroup", 0, "systemd-run"),
        ("nothing that there is", 0, ""),
    ],
)
def test_advice_by_errno(thing: str, number: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli_advice, "read", lambda path: "")
    assert text in advise(thing, number)


def test_every_wall_has_advice_for_every_errno(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli_advice, "read", lambda path: "")
    assert all(advise(thing, number) for thing in (*WALLS, "commands", "pidfd_getfd") for number in (0, *errno.errorcode))


def test_command_line(tmp_path: Path) -> None:
    done = call("doctor", "--json")
    assert done.returncode == 0 and set(json.loads(done.stdout)) == set(doctor.Report.__dataclass_fields__)
