"""Who may send to a socket: a classic BPF filter on it, which the kernel asks for every packet (socket(7),
SO_ATTACH_FILTER). A guest's loopback is a slice of the host's, where anybody may send; the filter lets in that slice
and the peers named."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Union

from .._addresses import Address

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the IP header
_BYTE, _WORD, _AND, _SHIFT, _JUMP, _EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x74, 0x05, 0x15, 0x06
_ALL, _NONE = 0xFFFFFFFF, 0
_SLICE = 0xFFFFFF00  # of an address: the slice that it is in
_Row = tuple[int, int, int, int]  # code, jt, jf, k
Block = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def _block(block: Block, source: int) -> list[_Row]:
    """Accept where the source address, at this offset, is in the block; else go on after these rows."""
    size = len(block.network_address.packed) // 4
    wanted = struct.unpack(f"!{size}I", block.network_address.packed)
    masks = struct.unpack(f"!{size}I", block.netmask.packed)
    rows: list[_Row] = [(_RETURN, 0, 0, _ALL)]
    for index in reversed(range(size)):
        if masks[index]:
            load, mask = (_WORD, 0, 0, source + 4 * index), (_AND, 0, 0, masks[index])
            rows = [load, mask, (_EQUAL, 0, len(rows), wanted[index]), *rows]
    return rows


def _family(blocks: Iterable[Block], source: int) -> list[_Row]:
    return [*(row for block in blocks for row in _block(block, source)), (_RETURN, 0, 0, _NONE)]


def in_slice(address: Address, base: int) -> bool:
    return address.version == 4 and int(address) & _SLICE == base


def program(base: int, peers: Iterable[Address | Block]) -> list[_Row]:
    """Accepts IPv4 packets from the /24 at `base` and packets of each peer or block of them; nothing else."""
    blocks = [ipaddress.ip_network(peer) for peer in peers]
    slice_ = ipaddress.IPv4Network((base, 24))
    four = _family([slice_, *(block for block in blocks if block.version == 4)], _NETWORK + 12)
    six = _family([block for block in blocks if block.version == 6], _NETWORK + 8)
    head: list[_Row] = [(_BYTE, 0, 0, _NETWORK), (_SHIFT, 0, 0, 4), (_EQUAL, 1, 0, 4), (_JUMP, 0, 0, len(four))]
    return [*head, *four, *six]


def attach(sock: socket.socket, base: int, peers: Iterable[Address | Block]) -> None:
    """Put the filter on, in place of one that is there. Some kernels let only CAP_NET_ADMIN do so for TCP: then the
    sentry looks at whom it accepts (internet_admits), and that must do."""
    with suppress(PermissionError) if sock.type == socket.SOCK_STREAM else nullcontext():
        _put(sock, program(base, peers))


def deafen(sock: socket.socket) -> None:
    """Nobody may, until `detach`."""
    _put(sock, [(_RETURN, 0, 0, _NONE)])


def _put(sock: socket.socket, program: Iterable[_Row]) -> None:
    import ctypes

    rows = b"".join(struct.pack("=HBBI", *row) for row in program)
    buffer = ctypes.create_string_buffer(rows, len(rows))
    head = struct.pack("HxxxxxxP", len(rows) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def detach(sock: socket.socket) -> None:
    """Everybody may send to it, as far as the kernel lets us say so."""
    with suppress(OSError):  # there is none, or attach could not put one on either
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
