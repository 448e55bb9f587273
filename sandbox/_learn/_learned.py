"""What was learned: a policy, and why each line of it is there."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from sandbox._errors import PolicyError
from sandbox._paths import AnyPath
from sandbox._policy import Policy

from ._lines import Line, lines
from ._merge import lines_of, merged, policy_of
from ._seen import Seen
from ._text import reasons, text

_LONGEST = 200


class Run(NamedTuple):
    """One program that was run: `returncode` is negative for a signal, `cwd` None where it does not matter."""

    command: tuple[str, ...]
    cwd: str | None
    returncode: int


@dataclass(frozen=True)
class Learned:
    """A policy learned from `runs` of programs. `cwd` and `returncode` are those of the last.

    `policy` is what they need, `to_toml()` writes it down with the programs and calls that needed each line; `notes`
    say what was seen and is in no line. `learned | other` is what both need, where the other is a Learned, or a Policy
    of which everything is kept.

    >>> from sandbox import learn
    >>> learned = learn(["true"]) | Policy(env={"A": "b"})
    >>> learned.policy.env["A"], learned.cwd, Policy.loads(learned.to_toml()) == learned.policy
    ('b', None, True)
    """

    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    _lines: tuple[Line, ...] = field(repr=False)
    _seen: Seen = field(repr=False, compare=False)
    _base: tuple[Line, ...] = field(repr=False, default=())

    @classmethod
    def of(cls, seen: Seen, runs: Sequence[Run], base: Sequence[Line] = ()) -> Learned:
        """What follows from what was seen, and what a policy grants already."""
        found, notes = lines(seen)
        return cls(tuple(runs), tuple(notes), tuple(merged(list(base), found)), seen, tuple(base))

    @property
    def cwd(self) -> str | None:
        """The working directory that it needs, or None."""
        return self.runs[-1].cwd

    @property
    def returncode(self) -> int:
        """How the program ended: negative for a signal."""
        return self.runs[-1].returncode

    @cached_property
    def policy(self) -> Policy:
        """The policy under which the runs do the same inside."""
        return policy_of(self._lines)

    def __or__(self, other: Learned | Policy) -> Learned:
        if isinstance(other, Policy):
            return self._over(lines_of(other, {}))
        if not isinstance(other, Learned):
            return NotImplemented
        base = merged(list(self._base), list(other._base))
        return Learned.of(self._seen | other._seen, (*self.runs, *other.runs), base)

    def merge(self, *others: Learned | Policy) -> Learned:
        """`self | other | ...` of each in turn."""
        made = self
        for other in others:
            made = made | other
        return made

    def merge_file(self, path: AnyPath) -> Learned:
        """What this and the policy of a TOML file need; the reasons that `to_toml` wrote there are kept.

        PolicyError: the file cannot be read, or is no policy."""
        return self._over(lines_of(Policy.load(path), reasons(_source(path), os.fsdecode(path))))

    def _over(self, base: list[Line]) -> Learned:
        return Learned.of(self._seen, self.runs, merged(list(self._base), base))

    def to_toml(self) -> str:
        """TOML that `Policy.load` reads as `policy`, with a comment for each line that says who needed it."""
        head = ["Learned by sandbox learn. Read it before you rely on it: it grants what the program did, no less."]
        return text(self._lines, [*head, *dict.fromkeys(map(_again, self.runs)), *self.notes])

    def difference(self, path: AnyPath) -> str:
        """What `to_toml` would change in a file, as a unified diff; nothing where it is equal. A file that is not there
        is an empty one."""
        name = os.fsdecode(path)
        old = _source(path) if os.path.lexists(name) else ""
        lines = difflib.unified_diff(old.splitlines(), self.to_toml().splitlines(), name, "learned", lineterm="")
        return "".join(line + "\n" for line in lines)


def _again(run: Run) -> str:
    words = shlex.join(run.command)
    where = f"--cwd {shlex.quote(run.cwd)} " if run.cwd else ""
    command = words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"
    return f"Run by: sandbox run --policy FILE {where}-- {command}"


def _source(path: AnyPath) -> str:
    name = os.fsdecode(path)
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy {name}: {error}") from error
