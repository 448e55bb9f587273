"""Where a guest path leads under a plan: links followed in the guest's view as the sentry does, each name found in the
compiled plan by the sentry's own lookup (sbx_plan_find). The host's objects are looked at, never opened."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from dataclasses import dataclass

from .. import _core, _remedies
from .._describe import describe
from .._plan import Plan
from .._view import Kind, Place
from .explanation import Said

_LINKS_MAX, NAME_MAX = 40, 255
_NOTHING = bytes(8)  # a filter that is never loaded
_MADE_AT_RUN_TIME = (Kind.PROC, Kind.PTS, Kind.TTY)
_TYPES = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class Ends(Exception):
    """The walk is over before its end, with an answer."""

    def __init__(self, error: int, said: tuple[str, str], place: Place, behind: str, remedy: str = "") -> None:
        super().__init__(error)
        decision, reason = said
        self.said = Said(decision, errno.errorcode[error], describe(place), reason, behind, remedy)


@dataclass(frozen=True)
class Found:
    """What is at a guest path. `kind` is directory, file, link, fifo, socket, device, missing, or special where only
    a running guest can tell; `host` the path of a host mount's object, `mode` its st_mode."""

    guest: str
    place: Place
    rest: str
    kind: str
    host: str = ""
    mode: int = 0
    target: str = ""

    def missing(self, *below: str) -> Ends:
        """`below` are names that were asked for below what is missing."""
        place = self.place
        if place.kind is Kind.HOST:
            return Ends(errno.ENOENT, ("fails", f"the host has no {self.host}"), place, "host")
        if place.kind is Kind.SCRATCH:
            return Ends(errno.ENOENT, ("fails", "it is empty at the start; the guest may make it"), place, "host")
        asked = os.path.normpath(os.path.join(self.guest, *below))
        there = os.path.lexists(asked)
        host = "which the host has" if there else "and the host has none, either"
        remedy = _remedies.show(asked) if there else ""
        return Ends(errno.ENOENT, ("refused", f"no mount holds {asked}, {host}"), place, "view", remedy)


def may(found: Found, wants: int) -> bool:
    """Has the guest these rights (os.R_OK, W_OK, X_OK) to a host object? It has its user's, without capabilities."""
    place = found.place
    if place.kind in (Kind.SCRATCH, Kind.SKELETON):
        return True
    if place.kind is not Kind.HOST or (place.optional and found.kind == "file" and not found.rest):
        return not wants & ~(os.R_OK | (os.X_OK if place.executable else 0))  # our own, or a copy of it
    if os.geteuid():
        return os.access(found.host, wants, effective_ids=True)
    status = os.stat(found.host)
    groups = {os.getegid(), *os.getgroups()}
    shift = 6 if status.st_uid == 0 else 3 if status.st_gid in groups else 0
    return wants & (status.st_mode >> shift) == wants


def own(found: Found) -> bool:
    """Is it the user's, as the guest is?"""
    return found.place.kind is not Kind.HOST or os.lstat(found.host).st_uid == os.geteuid()


class Walk:
    """The view of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._places = plan.places
        self._plan = plan.pack(filters=(_NOTHING,) * 3, tag=1 << 32, required=0, scratch="", cgroup="", audit=False)

    def __call__(self, path: str, *, follow: bool = True) -> Found:
        """The object at an absolute guest path, or what is missing there. Ends: the walk does not come to it."""
        parts, current, links = _parts(path), self._look("/"), 0
        as_directory = path.endswith(("/", "/."))
        while parts:
            part = parts.popleft()
            _check(current)
            if part == "..":
                _search(current)
                current = self._look(os.path.dirname(current.guest))
                continue
            found = self._below(current, part)
            if found.kind == "special":
                return found
            if found.kind == "link" and (parts or follow or as_directory):
                links += 1
                if links > _LINKS_MAX:
                    raise Ends(errno.ELOOP, ("fails", "too many links"), found.place, "host")
                parts = _parts(found.target) + parts
                current = self._look("/") if found.target.startswith("/") else current
                continue
            if found.kind == "missing" and parts:
                raise found.missing(*parts)
            current = found
        if as_directory and current.kind != "missing":
            _check(current)
        return current

    def parent(self, found: Found) -> Found:
        """The directory that an object's name is in."""
        return self._look(os.path.dirname(found.guest))

    def shelters(self, found: Found) -> bool:
        """Is there a mount or a hidden name at or below it?"""
        places = self._places
        hidden = (f"{place.guest.rstrip('/')}/{name}" for place in places for name in place.hide)
        points = (place.guest for place in places if place.guest != "/")
        return any(f"{path}/".startswith(f"{found.guest.rstrip('/')}/") for path in (*points, *hidden))

    def _below(self, folder: Found, name: str) -> Found:
        if len(os.fsencode(name)) > NAME_MAX:
            raise Ends(errno.ENAMETOOLONG, ("fails", f"a name of more than {NAME_MAX} bytes"), folder.place, "host")
        guest = f"{folder.guest.rstrip('/')}/{name}"
        hit = _core.find_mount(self._plan, os.fsencode(guest))
        if hit is not None and self._places[hit[0]] is folder.place:
            _search(folder)
        return self._look(guest)

    def _look(self, guest: str) -> Found:
        hit = _core.find_mount(self._plan, os.fsencode(guest))
        if hit is None:
            raise self._hidden(guest)
        place, rest = self._places[hit[0]], os.fsdecode(hit[1])
        if place.kind in _MADE_AT_RUN_TIME:
            return Found(guest, place, rest, "special")
        if place.kind is Kind.LINK:
            return Found(guest, place, rest, "link", target=place.source)
        if place.kind is Kind.HOST:
            return _on_host(guest, place, rest)
        if place.kind in (Kind.BYTES, Kind.SERVICE):
            return Found(guest, place, rest, "file")
        there = not rest or any(other.guest.startswith(guest + "/") for other in self._places)
        return Found(guest, place, rest, "directory" if there else "missing")

    def _hidden(self, guest: str) -> Ends:
        """It is its directory's mount that hides it."""
        parent = _core.find_mount(self._plan, os.fsencode(os.path.dirname(guest)))
        assert parent is not None, guest
        place = self._places[parent[0]]
        name = guest[len(place.guest.rstrip("/")) + 1 :]
        said = ("refused", f"{guest} is hidden")
        return Ends(errno.ENOENT, said, place, "hidden", _remedies.unhide(place, name))


def _parts(path: str) -> deque[str]:
    return deque(part for part in path.split("/") if part not in ("", "."))


def _check(found: Found) -> None:
    if found.kind == "missing":
        raise found.missing()
    if found.kind != "directory":
        raise Ends(errno.ENOTDIR, ("fails", f"{found.guest} is no directory"), found.place, "host")


def _search(folder: Found) -> None:
    if not may(folder, os.X_OK):
        raise Ends(errno.EACCES, ("fails", f"the user may not search {folder.host}"), folder.place, "host")


def _on_host(guest: str, place: Place, rest: str) -> Found:
    host = os.path.join(place.source, rest) if rest else place.source
    try:
        mode = os.lstat(host).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Found(guest, place, rest, "missing", host)
        reason = f"{host}: {(error.strerror or '?').lower()}"
        raise Ends(error.errno or errno.EIO, ("fails", reason), place, "host") from None
    kind = _TYPES.get(stat.S_IFMT(mode), "device")
    return Found(guest, place, rest, kind, host, mode, os.readlink(host) if kind == "link" else "")
