"""What a sentry asks of its guest's network: done, one after the other, and what fails is an errno."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Mapping

from .._messages import NetAnswer, NetAsk
from ._home import PROTOCOLS
from ._making import FAMILIES, Making
from ._meter import Meter
from ._options import set_option
from ._refused import Refused
from ._sockets import borrowed

Operation = Callable[[socket.socket, NetAsk], NetAnswer]


class Operations:
    """One guest's, under its `lock`. In the Supervisor's thread."""

    def __init__(
        self, lock: threading.Lock, meter: Meter, making: Making, operations: Mapping[str, Operation]
    ) -> None:
        """`operations` are those on a socket of the network, by what is asked."""
        self._lock, self._meter, self._making, self._operations = lock, meter, making, operations

    def handle(self, ask: NetAsk) -> NetAnswer:
        answer = self._answer(ask)
        self._meter.decided(ask.kind, answer.rule, -answer.value)
        return answer

    def _answer(self, ask: NetAsk) -> NetAnswer:
        try:
            if ask.kind == "socket":
                with self._lock:
                    return self._making.make(ask)
            assert ask.fd is not None
            with borrowed(ask.fd) as sock, self._lock:
                operation = self._operations_of(sock).get(ask.kind)
                return operation(sock, ask) if operation else NetAnswer(-errno.EOPNOTSUPP)
        except Refused as refused:
            return NetAnswer(-errno.EACCES, rule=refused.rule)
        except socket.gaierror:
            return NetAnswer(-errno.EINVAL)
        except OSError as error:
            return NetAnswer(-abs(error.errno or errno.EIO))

    def _operations_of(self, sock: socket.socket) -> Mapping[str, Operation]:
        """What is done on a socket of its kind: no sentry may do the few that concern local ones either."""
        if sock.family == socket.AF_UNIX:
            return _ON_LOCAL
        return self._operations if sock.family in FAMILIES and sock.type in PROTOCOLS else {}


def _listen_local(sock: socket.socket, ask: NetAsk) -> NetAnswer:
    sock.listen(max(0, ask.family))
    return NetAnswer()


_ON_LOCAL: dict[str, Operation] = {"listen": _listen_local, "option": set_option}
