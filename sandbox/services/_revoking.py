"""Rules that change while their guest runs, and what a change takes back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._rules import Rules
from ._hearing import Hearing
from ._judging import InForce, Judging
from ._names_of_sockets import Name
from ._outward import Outwards
from ._proxied import Proxied
from ._relayed import Relayed


class Revoking:
    """One guest's. From any thread: `lock` is held by whoever does what the guest asks."""

    def __init__(
        self,
        lock: threading.Lock,
        in_force: InForce,
        judging: Judging,
        outward: Outwards,
        hearing: Hearing,
        relayed: Relayed | None,
        proxied: Proxied | None,
    ) -> None:
        self._lock, self._in_force, self._judging, self._outward = lock, in_force, judging, outward
        self._hearing, self._relayed, self._proxied = hearing, relayed, proxied

    def change(self, change: Callable[[Rules], Rules]) -> None:
        with self._lock:  # no call is half judged, and no other change lost
            self._in_force.rules = change(self._in_force.rules)

    def cut(self, root: int) -> bool:
        """Part every socket of the guest, whose first process is `root`, from whom the rules do not allow now. False:
        one that stands is held where it cannot be reached."""
        for relays in (self._relayed, self._proxied):
            if relays is not None and not relays.cut(self._may_stand):
                return False
        done = self._outward.cut(root, self._lock, self._judging.refused, self._hearing.hear)
        if self._proxied is not None:
            self._proxied.settle(self._judging.refused)
        return done

    def _may_stand(self, protocol: str, cookie: int, peer: Name) -> bool:
        reach = self._outward.peers_of(cookie).get(peer)
        return reach is not None and not self._judging.refused(protocol, {peer: reach})
