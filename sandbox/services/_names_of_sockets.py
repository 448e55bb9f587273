"""sockaddr_in and sockaddr_in6, as bytes of a guest and as values."""

from __future__ import annotations

import errno
import socket
import struct
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

_remembered = lru_cache(1024)
"""Addresses are read and written for each call, and most are those of the call before."""


class Name(NamedTuple):
    address: IPv4Address | IPv6Address
    port: int


@_remembered
def four(packed: bytes) -> IPv4Address:
    return IPv4Address(packed)


@_remembered
def read_plain(address: str) -> IPv4Address | IPv6Address:
    """An address as getsockname gives it; a mapped IPv4 one is IPv4."""
    read = ip_address(address.partition("%")[0])
    return (isinstance(read, IPv6Address) and read.ipv4_mapped) or read


@_remembered
def read_name(text: bytes, of: int) -> Name:
    """What a guest gave as an address of a socket of family `of`: a mapped IPv4 one is IPv4. OSError: EINVAL, or
    EAFNOSUPPORT where it is another family's: the kernel would read other bytes of it than we do."""
    family = struct.unpack_from("=H", text)[0] if len(text) >= 2 else of
    port = int.from_bytes(text[2:4], "big")
    if family != of:
        raise OSError(errno.EAFNOSUPPORT, "")
    if family == socket.AF_INET and len(text) >= 16:
        return Name(IPv4Address(text[4:8]), port)
    if family == socket.AF_INET6 and len(text) >= 24:
        address = IPv6Address(text[8:24])
        return Name(address.ipv4_mapped or address, port)
    raise OSError(errno.EINVAL, "")


@_remembered
def write_name(name: Name, family: int) -> bytes:
    """The sockaddr of a family; IPv4 in IPv6 is mapped."""
    head = struct.pack("=H", family) + name.port.to_bytes(2, "big")
    packed = name.address.packed
    if family == socket.AF_INET:
        assert len(packed) == 4
        return head + packed + bytes(8)
    return head + bytes(4) + (packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed) + bytes(4)


@_remembered
def shown(text: bytes) -> str:
    """What a guest gave as an address, as a sentry records it (socket_name.c); empty where it is no whole one."""
    family = struct.unpack_from("=H", text)[0] if len(text) >= 2 else socket.AF_UNSPEC
    port = int.from_bytes(text[2:4], "big")
    if family == socket.AF_INET and len(text) >= 16:
        return f"{socket.inet_ntop(family, text[4:8])}:{port}"
    if family == socket.AF_INET6 and len(text) >= 24:
        return f"[{socket.inet_ntop(family, text[8:24])}]:{port}"
    return ""
