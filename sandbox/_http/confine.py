"""The walls of a proxy. It keeps its descriptors, its memory and the clock; it opens nothing, makes no socket and no
process.

The filter alone is that, and always stands; Landlock, namespaces and limits stand behind it where they can be had."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Collection
from contextlib import suppress

_LIBC = ctypes.CDLL(None, use_errno=True)
_NR = {"capset": 126, "seccomp": 317, "landlock_create_ruleset": 444, "landlock_restrict_self": 446}  # x86-64
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _CAPBSET_DROP = 1, 4, 38, 24
_NAMESPACES = {"netns": 0x40000000, "ipcns": 0x08000000, "utsns": 0x04000000}
_LANDLOCK_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))  # by ABI
_LIMITS = {
    resource.RLIMIT_CORE: 1,  # 0 does not stop a core_pattern that is a pipe
    resource.RLIMIT_DATA: 512 << 20,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NOFILE: 1024,
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _Capabilities(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def confine(program: bytes, walls: Collection[str]) -> None:
    """For good. `program` is the filter, `walls` those of _messages.WALLS that may be tried. OSError: what always
    stands does not."""
    for kind, most in _LIMITS.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    for wall, flag in _NAMESPACES.items():
        if wall in walls:
            _LIBC.unshare(flag)
    _must(_LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    with suppress(OSError):
        os.setgroups([])
    for capability in range(64):
        _LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    none = (ctypes.c_uint32 * 6)()
    _must(_LIBC.syscall(_NR["capset"], ctypes.byref(_Capabilities(0x20080522, 0)), none))
    _must(_LIBC.prctl(_DUMPABLE, 0, 0, 0, 0))
    _must(_LIBC.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if "landlock" in walls:
        _landlock()
    _must(_LIBC.syscall(_NR["seccomp"], 1, 0, ctypes.byref(_Program(len(program) // 8, program))))


def _landlock() -> None:
    """Every right that the kernel knows is handled and none is given."""
    abi = _LIBC.syscall(_NR["landlock_create_ruleset"], None, 0, 1)
    if abi < 1:
        return
    files = sum(rights for since, rights in _LANDLOCK_RIGHTS if abi >= since)
    rules = (ctypes.c_uint64 * 3)(files, 3, 3)  # files; TCP, ABI 4; abstract sockets and signals, ABI 6
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _LIBC.syscall(_NR["landlock_create_ruleset"], ctypes.byref(rules), size, 0)
    _must(ruleset)
    _must(_LIBC.syscall(_NR["landlock_restrict_self"], ruleset, 0))
    os.close(ruleset)


def _must(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
