"""A guest's own addresses on the host: a slice of its loopback, 127.a.b.0/24. The guest's 127.0.0.x is host number x,
its ::1 number 2 (IPv6 sockets use mapped addresses), its address beside the loopback number 253."""

from __future__ import annotations

import errno
import secrets
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from .._addresses import Address
from ._ingress import in_slice
from ._names_of_sockets import Name

NOBODY, ONE, SIX, RESOLVER, INTERFACE, LAST = 0, 1, 2, 53, 253, 254
_HELD_AT = 1024  # port of the last address, by which a slice is held


class Slice:
    """One guest's. OSError: there is no free one."""

    def __init__(self, address: IPv4Address | None) -> None:
        """`address` is the guest's beside its loopback, if it has one."""
        self.address = address
        self.resolver = 0
        """the port of what the guest has at 127.0.0.53:53"""
        self.base, self._holder = _free()
        self._all = [IPv4Address(self.base + number) for number in range(256)]
        self.nobody = Name(self.at(LAST), _HELD_AT)
        """a UDP socket that takes what it is sent, as nobody would"""

    def close(self) -> None:
        self._holder.close()

    def at(self, number: int) -> IPv4Address:
        return self._all[number]

    def holds(self, address: Address) -> bool:
        return in_slice(address, self.base)

    def own(self, name: Name) -> Name | None:
        """Where a name of the guest's own is; None: it is none."""
        if isinstance(name.address, IPv6Address):
            return Name(self.at(SIX), name.port) if int(name.address) in (0, 1) else None
        if name.address == self.address:
            return Name(self.at(INTERFACE), name.port)
        whole = int(name.address)
        if whole and whole >> 24 != 127:
            return None
        number = whole & 0xFFFFFF or ONE
        if number == RESOLVER and name.port == 53:
            return Name(self.at(RESOLVER), self.resolver)
        return Name(self.at(number), name.port) if number < INTERFACE else None

    def dual(self, own: Name) -> Name:
        """Who listens at every address is at number 1, and reached by the others, too."""
        return Name(self.at(ONE), own.port) if int(own.address) & 0xFF in (SIX, INTERFACE) else own

    def beside(self, target: Address) -> IPv4Address:
        """From where the guest speaks to one of its own addresses."""
        number = int(target) & 0xFF
        return self.at(number if number in (SIX, INTERFACE) else ONE)


def _free() -> tuple[int, socket.socket]:
    """The first address of a slice that no other guest of the machine has, and the socket that holds it."""
    for _ in range(64):
        base = 127 << 24 | secrets.randbelow(190) + 64 << 16 | secrets.randbelow(256) << 8
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with suppress(OSError):
            holder.bind((str(IPv4Address(base + LAST)), _HELD_AT))
            return base, holder
        holder.close()
    raise OSError(errno.EADDRINUSE, "no free slice of the loopback")
