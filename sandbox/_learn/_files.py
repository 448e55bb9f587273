"""Calls that name a file, as needs of paths. What each argument is, the table of csrc/syscalls.c says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox._core import Syscall, syscalls

from ._executed import interpreters, mapped_files
from ._seen import Need, Seen
from ._task import Enter, Leave, Task
from ._walk import forms

AT_FDCWD = 0xFFFFFF9C
_NOFOLLOW, _EMPTY_PATH = 0x100, 0x1000
_OPENAT2 = "openat2"
_UNNAMED = "(a file without a name)"

_NEEDS = {
    **dict.fromkeys(("stat", "statx", "access", "readlink", "statfs", "chdir"), Need.LOOK),
    **dict.fromkeys(("getxattr", "listxattr", "inotify_add"), Need.LOOK),
    **dict.fromkeys(("truncate", "chmod", "chown", "utimes", "setxattr", "removexattr"), Need.WRITE),
    **dict.fromkeys(("mkdir", "mknod", "symlink", "unlink", "rename", "link"), Need.CHANGE),
    "open": Need.READ,
    "exec": Need.READ,
}
"""By the operation of the table; of open, what its flags do not say otherwise."""
_BY_FD = {"getdents": Need.LIST, "fchmod": Need.WRITE, "fchown": Need.WRITE}
_BY_FD_NAMED = {"fsetxattr": Need.WRITE, "fremovexattr": Need.WRITE}


@dataclass
class _Path:
    """One path argument. `forms` are there before the call where it changes names, else they are found after it."""

    need: Need
    absolute: str
    base: str  # the working directory that it counts from, if it does
    follow: bool
    forms: list[str]
    existed: bool = True


class Files:
    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._made: set[str] = set()
        self._known: set[tuple[str, int, str]] = set()

    def calls(self) -> Iterator[tuple[int, Enter]]:
        """The numbers of the calls to stop at, and what to do there."""
        for row in syscalls():
            if row.name in _BY_FD_NAMED or (row.op in _BY_FD and "path" not in row.roles):
                yield row.nr, self._descriptor(row)
            elif row.name == _OPENAT2 or (row.op in _NEEDS and "path" in row.roles):
                yield row.nr, self._named(row)
            elif row.op == "getcwd":
                yield row.nr, self._getcwd

    # ---- calls ----------------------------------------------------------------------------------------------------

    def _descriptor(self, row: Syscall) -> Enter:
        need = _BY_FD_NAMED.get(row.name) or _BY_FD[row.op]

        def enter(task: Task, arguments: tuple[int, ...]) -> None:
            path = task.open_path(arguments[0])
            if path:
                self._record([path], need, f"{task.program} {row.name}")

        return enter

    def _getcwd(self, task: Task, _: tuple[int, ...]) -> None:
        self._record([task.open_path(AT_FDCWD)], Need.LOOK, f"{task.program} getcwd")

    def _named(self, row: Syscall) -> Enter:
        def enter(task: Task, arguments: tuple[int, ...]) -> Leave | None:
            paths = [path for path in self._paths(task, row, arguments) if path.absolute]
            return (lambda result: self._done(task, row, paths, result)) if paths else None

        return enter

    def _paths(self, task: Task, row: Syscall, arguments: tuple[int, ...]) -> Iterator[_Path]:
        flags = _flags(task, row, arguments)
        for index, role in enumerate(row.roles):
            if role != "path":
                continue
            dirfd = arguments[index - 1] if index and row.roles[index - 1] == "dirfd" else AT_FDCWD
            text = task.text(arguments[index])
            if text:
                base = "" if text.startswith("/") or dirfd & 0xFFFFFFFF != AT_FDCWD else task.open_path(dirfd)
                yield self._path(task, row, flags, task.absolute(dirfd, text), base)
            elif row.op in ("utimes", "chown", "chmod", "exec") and (arguments[index] == 0 or flags & _EMPTY_PATH):
                yield self._path(task, row, flags, task.open_path(dirfd), "")  # of the descriptor itself

    def _path(self, task: Task, row: Syscall, flags: int, absolute: str, base: str) -> _Path:
        opens = row.op == "open" or row.name == _OPENAT2
        if opens and flags & os.O_TMPFILE == os.O_TMPFILE and absolute:
            absolute, flags = os.path.join(absolute, _UNNAMED), os.O_CREAT | os.O_EXCL | os.O_WRONLY
        need = _opening(flags) if opens else _NEEDS[row.op]
        if opens:
            follow = not flags & os.O_NOFOLLOW and flags & (os.O_CREAT | os.O_EXCL) != os.O_CREAT | os.O_EXCL
        else:
            follow = need is not Need.CHANGE and row.op != "readlink" and not flags & _NOFOLLOW
        early = need is Need.CHANGE or bool(opens and flags & os.O_CREAT)
        found = self.walk(task, absolute, follow, row.name) if early and absolute else []
        return _Path(need, absolute, base, follow, found, not early or not found or os.path.lexists(found[-1]))

    def _done(self, task: Task, row: Syscall, paths: list[_Path], result: int) -> None:
        if result < 0:
            return
        by = f"{task.program} {row.name}"
        if row.op == "open" or row.name == _OPENAT2:
            self._seen.peak("open_files", result + 1)
        for path in paths:
            if path.base:
                self._record([path.base], Need.LOOK, by)
            if path.need is Need.CHANGE or not path.existed:
                self.change(path.forms, by, path.existed)
            else:
                self._record(path.forms or self.walk(task, path.absolute, path.follow, row.name), path.need, by)
        if row.op in ("rename", "link") and len(paths) == 2:
            self._hold(paths[0].forms[-1], paths[1].forms[-1], by)
        if row.op == "exec":
            for interpreter in interpreters(paths[0].absolute):
                self._record(self.walk(task, task.absolute(AT_FDCWD, interpreter), True, row.name), Need.READ, by)

    # ---- what is known --------------------------------------------------------------------------------------------

    def walk(self, task: Task, path: str, follow: bool, call: str) -> list[str]:
        """The forms of an absolute path."""
        found, left = forms(path, follow, task.tid)
        for folder in left:
            self._record([folder], Need.LOOK, f"{task.program} {call}")
        return found

    def executed(self, task: Task) -> None:
        """What the kernel itself has opened for a program: that, and the interpreter of its ELF file."""
        for mapped in mapped_files(task.tid):
            self._record([mapped], Need.READ, f"{task.program} execve")

    def change(self, found: list[str], by: str, existed: bool) -> None:
        """A name was made, removed or replaced."""
        for form in found:
            top = self._top(form)
            self._record_known(form if top is None else top, Need.CHANGE, by)
        if not existed:
            self._made.add(found[-1])

    def is_made(self, path: str) -> bool:
        """Did the run make it, or a directory around it?"""
        return self._top(path) is not None

    def _record(self, found: list[str], need: Need, by: str) -> None:
        if found[-1] and not self.is_made(found[-1]):
            for form in found:
                self._record_known(form, need, by)

    def _record_known(self, path: str, need: Need, by: str) -> None:
        if (path, need, by) not in self._known:
            self._known.add((path, need, by))
            self._seen.path(path, need, by)

    def _top(self, path: str) -> str | None:
        """The uppermost of a path's parents, or it, that the run made."""
        found = None
        while path != "/" and self._made:
            found = path if path in self._made else found
            path = os.path.dirname(path)
        return found

    def _hold(self, one: str, other: str, by: str) -> None:
        parents = {os.path.dirname(self._top(path) or path) for path in (one, other)}
        if len(parents) > 1:
            self._record_known(os.path.commonpath(parents), Need.HOLD, by)


def _flags(task: Task, row: Syscall, arguments: tuple[int, ...]) -> int:
    if row.name == _OPENAT2:
        return task.word(arguments[2])
    return row.preset | (arguments[row.roles.index("flags")] if "flags" in row.roles else 0)


def _opening(flags: int) -> Need:
    if flags & os.O_PATH:
        return Need.LOOK
    return Need.WRITE if flags & os.O_ACCMODE or flags & os.O_TRUNC else Need.READ
