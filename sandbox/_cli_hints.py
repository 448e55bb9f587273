"""Hints after sandbox run: what was refused, and what would allow it. Names are the guest's: they are quoted, cut, and
printed by who escapes them."""

from __future__ import annotations

import os
import shlex
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from . import _remedies
from ._audit import AuditTarget, Event
from ._audit.join import of_block
from ._audit.reader import Reader
from ._domains import guest_name
from ._errors import PolicyError, SandboxError
from ._paths import AnyPath
from ._plan import compile_policy
from ._policy import Policy
from ._view import Kind, Place

LINES_MAX = 5
_KEPT_MAX = 256  # kinds of refusals
_MISSING_MAX = 32
_REMEDIES_MAX = 3  # of one line
_LINE_MAX, _TEXT_MAX = 400, 100
_READ_MAX = 64 << 20  # bytes of an audit file that are looked through
_SENDING = ("connect", "sendto", "sendmsg", "sendmmsg")


class Refusals:
    """An audit target that keeps what hints are made of: refusals, and names that the view's root does not have."""

    def __init__(self) -> None:
        self._denied: Counter[tuple[str, str, str | None, str | None]] = Counter()
        self._missing: dict[str, None] = {}
        self._more = 0

    def __call__(self, event: Event) -> None:
        path = " ".join(event.paths) if event.call == "resolve" else event.paths[-1] if event.paths else ""
        if event.verdict == "denied":
            key = (event.call, path, event.mount, event.error)
            if key in self._denied or len(self._denied) < _KEPT_MAX:
                self._denied[key] += 1
            else:
                self._more += 1
        elif event.error == "ENOENT" and event.mount == "/" and len(self._missing) < _MISSING_MAX:
            self._missing.setdefault(path)

    def read(self, path: AnyPath, start: int) -> None:
        """What an audit file has from byte `start` on, where that is a regular file and not too much."""
        with suppress(OSError, SandboxError), open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size - start <= _READ_MAX:
                file.seek(start)
                for guest, frame in Reader(file, os.fsdecode(path)):
                    if guest.about.get("pid") == os.getpid():
                        for event in of_block(guest, frame.magic, frame.data):
                            self(event)

    def lines(self, policy: Policy, *, failed: bool) -> list[str]:
        """At most LINES_MAX, the most frequent first; what is missing is told of where the command failed."""
        places = {place.guest: place for place in compile_policy(policy).places}
        groups: dict[str, Group] = {}
        for (call, path, mount, error), count in self._denied.most_common():
            for what, remedy in _refused(policy, call, path, places.get(mount or ""), error):
                group = groups.setdefault(what, Group(f"{call} {_quoted(path)}".strip()))
                group.count += count
                group.remedies.setdefault(remedy)
        made = [group.line(what) for what, group in groups.items()]
        made += _absent(policy, self._missing) if failed and places["/"].kind is Kind.SKELETON else []
        return [line[:_LINE_MAX] for line in _few(made, self._more)]


@dataclass
class Group:
    """What one line tells of."""

    first: str
    count: int = 0
    remedies: dict[str, None] = field(default_factory=dict)

    def line(self, what: str) -> str:
        times = f", {self.count} calls" if self.count > 1 else ""
        more = "; ..." if len(self.remedies) > _REMEDIES_MAX else ""
        return f"{what} ({self.first}{times}): {'; '.join([*self.remedies][:_REMEDIES_MAX])}{more}"


def _few(lines: list[str], more: int) -> list[str]:
    if len(lines) <= LINES_MAX and not more:
        return lines
    rest = len(lines) - (LINES_MAX - 1)
    return [*lines[: LINES_MAX - 1], f"and {max(rest, 0) + more} more; --audit FILE keeps them all"]


def _quoted(path: str) -> str:
    return shlex.quote(path if len(path) <= _TEXT_MAX else path[:_TEXT_MAX] + "...") if path else ""


def _refused(policy: Policy, call: str, path: str, place: Place | None, error: str | None) -> Iterator[tuple[str, str]]:
    """What was refused, and what would allow it; nothing where no option does."""
    if place is not None and error == "EROFS":
        guest = os.path.normpath(path) if path.startswith("/") else "/"  # a relative one may start anywhere
        yield f"{shlex.quote(place.guest)} is read-only", _remedies.write(place, guest)
    elif place is not None and error == "EACCES" and call.startswith("execve"):
        yield f"{shlex.quote(place.guest)} is noexec", _remedies.execute(place)
    elif error == "EACCES" and call in _SENDING:
        with suppress(PolicyError):
            said = policy.explain("connect", path)
            yield f"{path.rpartition(':')[0]} is refused by {said.rule}", said.remedy or _remedies.reach(path)
    elif call == "resolve":
        yield from _unresolved(policy, *path.split(" "))
    elif call == "http":
        method, _, url = path.partition(" ")
        yield f"{url.partition('/')[0]} is refused by the rules of HTTP", _remedies.request(method, url)
    elif error == "EAFNOSUPPORT" and call == "socket" and policy.network == "none":
        yield "there is no network", "--network loopback for its own; --allow TARGET for more"


def _unresolved(policy: Policy, name: str, address: str = "") -> Iterator[tuple[str, str]]:
    """Nothing where no rule can have the name, or what refused it was none: a type of record, a limit."""
    said = policy.explain("resolve", name)
    if guest_name(name) and address:
        yield f"{address} is left out of what {name} leads to", _remedies.reach_private(name)
    elif guest_name(name) and said.remedy:
        yield f"{name} is refused by {said.rule}", said.remedy


def _absent(policy: Policy, paths: Iterable[str]) -> Iterator[str]:
    """One line for each directory of the host's."""
    found: dict[str, list[str]] = {}
    for path in (path for path in paths if path.startswith("/")):
        with suppress(SandboxError):
            said = policy.explain("stat", path)
            if said.error == "ENOENT" and said.decision == "refused" and said.remedy:
                found.setdefault(os.path.dirname(path), []).append(said.remedy)
    for folder, remedies in found.items():
        others = f" and {len(remedies) - 1} more there" if len(remedies) > 1 else ""
        yield f"the host has something in {_quoted(folder)} that the view has not: {remedies[0]}{others}"


class Hints:
    """The hints of one run: what `--audit` says is kept all the same, and read again."""

    def __init__(self, policy: Policy, audit: str | None, *, wanted: bool) -> None:
        self._policy, self._audit, self._wanted, self._start = policy, audit, wanted, 0
        self._refusals = Refusals()
        self.target: AuditTarget | None = audit or (self._refusals if wanted else None)
        with suppress(OSError, ValueError):
            self._start = os.stat(audit).st_size if audit else 0

    def say(self, say: Callable[[str], None], *, failed: bool) -> None:
        """Call `say` with each line. Hints are no reason to fail."""
        if not self._wanted:
            return
        if self._audit:
            self._refusals.read(self._audit, self._start)
        with suppress(SandboxError, OSError):
            for line in self._refusals.lines(self._policy, failed=failed):
                say(f"hint: {line}")
