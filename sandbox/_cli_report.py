"""What doctor has found, as a value, as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Report:
    """`walls` has an empty text for a wall that stands, else the reason why not; `limits` says what keeps each limit;
    `reach` is what a sentry that a guest has taken over could do. `error` is empty where commands run. `advice` says
    what to do about what is missing, by the name of the feature or wall, `pidfd_getfd` or `commands`."""

    kernel: str
    machine: str
    user: int
    error: str
    versions: dict[str, str]
    features: dict[str, bool]
    walls: dict[str, str]
    landlock_abi: int
    borrow: str
    limits: dict[str, str]
    reach: dict[str, str]
    advice: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        return "\n".join(_text(self))


def _section(title: str, rows: dict[str, Any], advice: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    width = max(map(len, rows))
    lines = ["", title]
    for name, value in rows.items():
        lines.append(f"  {name.ljust(width)}  {value}")
        lines += [f"  {'':{width}}    do: {advice[name]}"] if name in advice else []
    return lines


def _text(report: Report) -> list[str]:
    verdict = f"commands do not run here: {report.error}" if report.error else "commands run here"
    do = report.advice
    lines = [f"Linux {report.kernel} {report.machine}, user {report.user}: {verdict}"]
    lines += [f"  do: {do['commands']}"] if "commands" in do else []
    lines += _section("versions", report.versions)
    lines += _section("kernel", {what: "yes" if there else "no" for what, there in report.features.items()}, do)
    lines += _section("walls", {name: f"no: {why}" if why else "stands" for name, why in report.walls.items()}, do)
    lines += [f"  Landlock ABI {report.landlock_abi}; a guest's descriptors are borrowed by {report.borrow}"]
    lines += [f"    do: {do['pidfd_getfd']}"] if "pidfd_getfd" in do else []
    lines += _section("limits", report.limits)
    lines += _section("a broken sentry would reach", report.reach)
    if report.user == 0 and report.walls["mountns"] and report.walls["landlock"]:
        lines += ["", "warning: root with neither a mount namespace nor Landlock"]
    return lines
