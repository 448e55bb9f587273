"""What was learned: a policy, and why each line of it is there."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sandbox._errors import PolicyError
from sandbox._paths import AnyPath
from sandbox._policy import Policy

from ._lines import Line, lines, lines_of, merged, policy_of
from ._seen import Need, Seen
from ._text import reasons, text

_LONGEST = 200


@dataclass(frozen=True)
class Learned:
    """A policy learned from runs of programs.

    `commands` are the runs; `returncode` is how the last ended, negative for a signal; `cwd` is the working directory
    that it needs, or None; `notes` say what was seen and is in no line. `policy` is what they need, `to_toml()` writes
    it down with the programs and calls that needed each line. `learned | other` is what both need, where the other is
    a Learned, or a Policy of which everything is kept.

    >>> from sandbox import learn
    >>> learned = learn(["true"]) | Policy(env={"A": "b"})
    >>> learned.policy.env["A"], learned.cwd, Policy.loads(learned.to_toml()) == learned.policy
    ('b', None, True)
    """

    commands: tuple[tuple[str, ...], ...]
    returncode: int
    cwd: str | None
    notes: tuple[str, ...]
    _lines: tuple[Line, ...] = field(repr=False)
    _seen: Seen = field(repr=False, compare=False)
    _base: tuple[Line, ...] = field(repr=False, default=())

    @classmethod
    def of(
        cls, seen: Seen, args: Sequence[str], returncode: int, *, commands: Any = (), base: tuple[Line, ...] = ()
    ) -> Learned:
        """What follows from what was seen."""
        found, notes = lines(seen)
        here = [path for path, access in seen.paths.items() if access.need & Need.HERE]
        both = tuple(merged(list(base), found)) if base else tuple(found)
        return cls((*commands, tuple(args)), returncode, here[-1] if here else None, tuple(notes), both, seen, base)

    @cached_property
    def policy(self) -> Policy:
        """The policy under which the runs do the same inside."""
        return policy_of(self._lines)

    def __or__(self, other: Learned | Policy) -> Learned:
        if isinstance(other, Policy):
            return self._over(lines_of(other, {}))
        if not isinstance(other, Learned):
            return NotImplemented
        base = tuple(merged(list(self._base), list(other._base)))
        commands = (*self.commands, *other.commands[:-1])
        return Learned.of(self._seen | other._seen, other.commands[-1], other.returncode, commands=commands, base=base)

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

    def _over(self, base: Sequence[Line]) -> Learned:
        made = tuple(merged(list(self._base), list(base)))
        last = self.commands[-1]
        return Learned.of(self._seen, last, self.returncode, commands=self.commands[:-1], base=made)

    def to_toml(self) -> str:
        """TOML that `Policy.load` reads as `policy`, with a comment for each line that says who needed it."""
        where = f"--cwd {shlex.quote(self.cwd)} " if self.cwd else ""
        runs = [f"Run by: sandbox run --policy FILE {where}-- {_cut(shlex.join(args))}" for args in self.commands]
        head = ["Learned by sandbox learn. Read it before you rely on it: it grants what the program did, no less."]
        return text(self._lines, [*head, *runs, *self.notes])

    def difference(self, path: AnyPath) -> str:
        """What `to_toml` would change in a file, as a unified diff; nothing where it is equal. A file that is not there
        is an empty one."""
        name = os.fsdecode(path)
        old = _source(path) if os.path.lexists(name) else ""
        lines = difflib.unified_diff(old.splitlines(), self.to_toml().splitlines(), name, "learned", lineterm="")
        return "".join(line + "\n" for line in lines)


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def _source(path: AnyPath) -> str:
    name = os.fsdecode(path)
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy {name}: {error}") from error
