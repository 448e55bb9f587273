"""sockaddr_in and sockaddr_in6, as bytes of a guest and as values."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple


class Name(NamedTuple):
    address: IPv4Address | IPv6Address
    port: int


def read_name(text: bytes) -> Name:
    """What a guest gave as an address: a mapped IPv4 one is IPv4. OSError: EINVAL, EAFNOSUPPORT."""
    family = struct.unpack_from("=H", text)[0] if len(text) >= 2 else socket.AF_INET
    port = int.from_bytes(text[2:4], "big")
    if family == socket.AF_INET and len(text) >= 16:
        return Name(IPv4Address(text[4:8]), port)
    if family == socket.AF_INET6 and len(text) >= 24:
        address = IPv6Address(text[8:24])
        return Name(address.ipv4_mapped or address, port)
    known = family in (socket.AF_INET, socket.AF_INET6)
    raise OSError(errno.EINVAL if known else errno.EAFNOSUPPORT, "")


def write_name(name: Name, family: int) -> bytes:
    """The sockaddr of a family; IPv4 in IPv6 is mapped."""
    head = struct.pack("=H", family) + name.port.to_bytes(2, "big")
    packed = name.address.packed
    if family == socket.AF_INET:
        return head + packed + bytes(8)
    return head + bytes(4) + (packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed) + bytes(4)
