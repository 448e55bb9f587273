"""Who may send to a socket: a classic BPF filter on it, which the kernel asks for every packet (socket(7),
SO_ATTACH_FILTER). A guest's loopback is a slice of the host's, where anybody may send; the filter lets in that slice
and the peers named."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from contextlib import nullcontext, suppress

from .._addresses import Address

_SO_ATTACH_FILTER = 26
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the IP header
_BYTE, _WORD, _AND, _SHIFT, _EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x74, 0x15, 0x06
_ALL, _NONE = 0xFFFFFFFF, 0
_SLICE = 0xFFFFFF00  # of an address: the slice that it is in
_Row = tuple[int, int, int, int]  # code, jt, jf, k


def _four(peers: list[ipaddress.IPv4Address], base: int) -> list[_Row]:
    rows: list[_Row] = [
        (_WORD, 0, 0, _NETWORK + 12),
        (_AND, 0, 0, _SLICE),
        (_EQUAL, 0, 1, base),
        (_RETURN, 0, 0, _ALL),
    ]
    rows.append((_WORD, 0, 0, _NETWORK + 12))
    for peer in peers:
        rows += [(_EQUAL, 0, 1, int(peer)), (_RETURN, 0, 0, _ALL)]
    return [*rows, (_RETURN, 0, 0, _NONE)]


def _six(peers: list[ipaddress.IPv6Address]) -> list[_Row]:
    rows: list[_Row] = []
    for peer in peers:
        words = struct.unpack("!4I", peer.packed)
        for index, word in enumerate(words):
            rows += [(_WORD, 0, 0, _NETWORK + 8 + 4 * index), (_EQUAL, 0, 2 * (3 - index) + 1, word)]
        rows.append((_RETURN, 0, 0, _ALL))
    return [*rows, (_RETURN, 0, 0, _NONE)]


def in_slice(address: Address, base: int) -> bool:
    return isinstance(address, ipaddress.IPv4Address) and int(address) & _SLICE == base


def program(base: int, peers: Iterable[Address]) -> list[_Row]:
    """Accepts IPv4 packets from the /24 at `base` and packets of each peer; nothing else."""
    every = list(peers)
    four = _four([peer for peer in every if isinstance(peer, ipaddress.IPv4Address)], base)
    head: list[_Row] = [(_BYTE, 0, 0, _NETWORK), (_SHIFT, 0, 0, 4), (_EQUAL, 0, len(four), 4)]
    return [*head, *four, *_six([peer for peer in every if isinstance(peer, ipaddress.IPv6Address)])]


def attach(sock: socket.socket, base: int, peers: Iterable[Address]) -> None:
    """Put the filter on, in place of one that is there. Some kernels let only CAP_NET_ADMIN do so for TCP: then the
    sentry looks at whom it accepts (internet_admits), and that must do."""
    import ctypes

    rows = b"".join(struct.pack("=HBBI", *row) for row in program(base, peers))
    buffer = ctypes.create_string_buffer(rows, len(rows))
    head = struct.pack("HxxxxxxP", len(rows) // 8, ctypes.addressof(buffer))
    with suppress(PermissionError) if sock.type == socket.SOCK_STREAM else nullcontext():
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
