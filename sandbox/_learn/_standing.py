"""What the default view has at each path: for that no line is needed."""

from __future__ import annotations

import os

from sandbox._policy import Policy
from sandbox._view import Kind, Place, places

from ._fold import parents, under
from ._seen import Need

_SHOWN = (Kind.HOST, Kind.LINK, Kind.BYTES, Kind.PROC, Kind.PTS, Kind.TTY)


class Standing:
    def __init__(self) -> None:
        self._places: dict[str, Place] = {place.guest: place for place in places(Policy())}

    def holder(self, path: str) -> Place:
        """The place that a path lies in."""
        return self._places[under(path, self._places) or "/"]

    def has(self, path: str, need: Need) -> bool:
        """Does a guest without any line get what is needed of this path? A name made anew in the guest's own scratch
        is; what was there before is the host's."""
        place = self.holder(path)
        if need & (Need.WRITE | Need.CHANGE | Need.HOLD):
            private = need is Need.CHANGE and place.kind is Kind.SCRATCH and os.path.dirname(path) == place.guest
            return private or place.device or place.kind in (Kind.PROC, Kind.PTS, Kind.TTY)
        if place.kind in _SHOWN:
            return not _is_hidden(path, place)
        return path == place.guest or any(guest.startswith(path.rstrip("/") + "/") for guest in self._places)

    def leads_away(self, path: str, need: Need) -> bool:
        """Does the default view show a link there, so that what it leads to is needed and not the path itself?"""
        if self.holder(path).kind not in (Kind.HOST, Kind.LINK):
            return False
        path = os.path.dirname(path) if need & Need.CHANGE else path
        return os.path.realpath(path) != path

    def apart(self, path: str, top: str) -> bool:
        """Is there a place of the default view between a path and a directory above it?"""
        return len(self.holder(path).guest) > len(top)


def _is_hidden(path: str, place: Place) -> bool:
    hidden = {f"{place.guest.rstrip('/')}/{name}" for name in place.hide}
    return any(top in hidden for top in (path, *parents(path)))
