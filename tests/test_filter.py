"""The composed programs do what the table says: simulated for every row and rule, and loaded for a few calls."""

from __future__ import annotations

import ast
import ctypes
import errno
import mmap
import os
import random
import signal
import struct
from collections.abc import Callable, Sequence

import pytest

from sandbox import _filter
from sandbox._core import Option, Route, Rule, guest_rules, sentry_rules, syscalls

X86_64, I386, X32 = 0xC000003E, 0x40000003, 0x40000000
KILL, ERRNO, NOTIFY, ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
OPTIONS = [Option(bits) for bits in (*range(8), 15, 24, 31, 32, 63)]
NO_SUCH = ERRNO | errno.ENOSYS


def run_bpf(program: bytes, nr: int, args: Sequence[int] = (0,) * 6, arch: int = X86_64) -> int:
    """What the kernel's classic BPF machine returns for a system call."""
    data = struct.pack("<IIQ6Q", nr, arch, 0x7F0000001234, *args)
    code = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        op, true, false, k = code[at]
        at += 1
        if op == 0x20:  # load a word of struct seccomp_data
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif op == 0x54:  # and
            accumulator &= k
        elif op == 0x05:  # jump always
            at += k
        elif op in (0x15, 0x25, 0x35, 0x45):  # jump if equal, greater, not less, any bit
            tests = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}
            at += true if tests[op] else false
        elif op == 0x06:  # return
            return int(k)
        else:
            raise AssertionError(f"instruction {op:#x}")


def passes(rules: Sequence[Rule], options: Option, args: Sequence[int]) -> bool:
    return any(
        rule.options in options and all(args[each.arg] & each.mask == each.value for each in rule.comparisons)
        for rule in rules
    )


def interesting(rules: Sequence[Rule], dice: random.Random) -> list[list[int]]:
    """Argument lists around each rule: what it asks for under random other bits, and that with one bit changed."""
    lists = [[0] * 6, [0xFFFFFFFFFFFFFFFF] * 6, [dice.getrandbits(64) for _ in range(6)], [0xFFFFFFFF] * 6]
    for rule in rules:
        for noise in (0, dice.getrandbits(64), 0xFFFFFFFFFFFFFFFF):
            args = [noise] * 6
            for each in rule.comparisons:
                args[each.arg] = (noise & ~each.mask) | each.value
            lists.append(args)
            for each in rule.comparisons:
                for bit in (dice.randrange(64) for _ in range(6)):
                    near = list(args)
                    near[each.arg] ^= 1 << bit
                    lists.append(near)
    return lists


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_guest_programs_are_the_table(options: Option) -> None:
    dice = random.Random(int(options))
    listener, outer = _filter.guest_programs(options)
    for row in syscalls():
        rules = [rule for rule in guest_rules() if rule.nr == row.nr]
        for args in interesting(rules, dice):
            answer = min(run_bpf(listener, row.nr, args), run_bpf(outer, row.nr, args))  # the stricter wins
            if row.route is Route.REFUSED:
                assert answer == ERRNO | row.error, row.name
            elif row.route is Route.NATIVE and (not rules or passes(rules, options, args)):
                assert answer == ALLOW, (row.name, args)
            else:
                assert answer == NOTIFY, (row.name, args)


def test_the_outer_program_lets_the_listeners_be_put_on() -> None:
    nr = {row.name: row.nr for row in syscalls()}["seccomp"]
    listener, outer = _filter.guest_programs(0)
    assert run_bpf(outer, nr) == ALLOW
    assert run_bpf(listener, nr) == ERRNO | errno.EINVAL


def test_the_sentrys_program_is_the_table() -> None:
    dice = random.Random(5)
    program = _filter.sentry_program()
    for row in syscalls():
        rules = [rule for rule in sentry_rules() if rule.nr == row.nr]
        for args in interesting(rules, dice):
            may = row.sentry and (not rules or passes(rules, Option(0), args))
            assert run_bpf(program, row.nr, args) == (ALLOW if may else NO_SUCH), (row.name, args)


def test_what_is_not_in_the_table_does_not_exist() -> None:
    known = {row.nr for row in syscalls()}
    _, outer = _filter.guest_programs(7)
    for nr in [*range(2048), 0x3FFFFFFF, 0xFFFFFFFF]:
        if nr not in known:
            assert run_bpf(outer, nr) == NO_SUCH
            assert run_bpf(_filter.sentry_program(), nr) == NO_SUCH


def test_other_architectures_and_x32_are_killed() -> None:
    for program in (*_filter.guest_programs(0), _filter.sentry_program()):
        assert run_bpf(program, 20, arch=I386) == KILL
        assert run_bpf(program, 39, arch=0xC00000B7) == KILL
        for nr in (0, 39, 59, 512, 547, 0x3FFFFFFF):
            assert run_bpf(program, X32 | nr) == KILL


def test_programs_fit_and_are_kept() -> None:
    for options in OPTIONS:
        programs = _filter.guest_programs(options)
        assert all(len(program) % 8 == 0 and len(program) // 8 < 4096 for program in programs)
        again = _filter.guest_programs(int(options))
        assert again[0] is programs[0] and again[1] is programs[1]


# ---- the same, in the kernel ----------------------------------------------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {row.name: row.nr for row in syscalls()}


def install(program: bytes) -> None:
    code = ctypes.create_string_buffer(program)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    assert LIBC.prctl(38, 1, 0, 0, 0) == 0
    assert LIBC.syscall(NUMBERS["seccomp"], 1, 0, head) == 0, os.strerror(ctypes.get_errno())


def attempt(name: str, *args: int) -> int:
    """0, or the errno."""
    result = LIBC.syscall(NUMBERS.get(name, name), *(ctypes.c_ulong(arg) for arg in args))
    return ctypes.get_errno() if result == -1 else 0


def in_child(programs: Sequence[bytes], body: Callable[[], object]) -> tuple[bytes, int]:
    """What `body` returned as text, and the wait status, of a child that wears the programs. No listener: what is
    notified is ENOSYS."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for program in programs:
                install(program)
            os.write(writing, repr(body()).encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        said = file.read()
    return said, os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("options", [Option(0), Option(7), Option(63)], ids=repr)
def test_loaded_guest_programs(options: Option) -> None:
    listener, outer = _filter.guest_programs(options)
    path = ctypes.create_string_buffer(b"/")
    buffer = ctypes.create_string_buffer(4096)
    where, out = ctypes.addressof(path), ctypes.addressof(buffer)

    def body() -> dict[str, int]:
        return {
            "getppid": attempt("getppid"),
            "dup": attempt("dup", 1),
            "fstat": attempt("fstat", 1, out),
            "socket unix": attempt("socket", 1, 1, 0),
            "socket unix, sign bits": attempt("socket", 0xFFFFFFFF00000001, 1, 0),
            "socket inet": attempt("socket", 2, 1, 0),
            "open": attempt("open", where, 0, 0),
            "bpf": attempt("bpf", 0, 0, 0),
            "ptrace": attempt("ptrace", 0, 0, 0, 0),
            "seccomp": attempt("seccomp", 2, 0, out),
            "unshare nothing": attempt("unshare", 0),
            "unshare user": attempt("unshare", 0x10000000),
            "fcntl getfd": attempt("fcntl", 1, 1, 0),
            "fcntl setown": attempt("fcntl", 1, 8, 1),
            "ioctl tiocsti": attempt("ioctl", 1, 0x5412, out),
            "getpgid 0": attempt("getpgid", 0),
            "getpgid 1": attempt("getpgid", 1),
            "kill -1": attempt("kill", 0xFFFFFFFFFFFFFFFF, 0),
            "nofile": attempt("prlimit64", 0, 7, 0, out),
            "locks": attempt("prlimit64", 0, 10, 0, out),
            "fstatat": attempt("newfstatat", 1, where + 1, out, 0x1000),
            "stat": attempt("newfstatat", 0xFFFFFFFFFFFFFF9C, where, out, 0),
            "unknown": attempt(1000),
        }

    said, status = in_child([outer, listener], body)
    assert status == 0
    everything = bool(options & Option.EMPTY_ROOT)
    served = errno.ENOSYS
    assert ast.literal_eval(said.decode()) == {
        "getppid": 0, "dup": 0, "fstat": 0, "socket unix": 0, "socket unix, sign bits": 0, "socket inet": 0 if Option.LOOPBACK in options else served,
        "open": served, "bpf": errno.EPERM, "ptrace": errno.EPERM, "seccomp": errno.EINVAL, "unshare nothing": 0,
        "unshare user": served, "fcntl getfd": 0, "fcntl setown": served, "ioctl tiocsti": served, "getpgid 0": 0,
        "getpgid 1": 0 if everything else served, "kill -1": served, "nofile": 0, "locks": served,
        "fstatat": 0 if everything else served, "stat": served, "unknown": errno.ENOSYS,
    }  # fmt: skip


def test_loaded_sentry_program() -> None:
    path = ctypes.create_string_buffer(b"/")
    where = ctypes.addressof(path)

    def body() -> dict[str, int]:
        return {
            "read": attempt("read", 0xFFFFFFFF, where, 0),
            "socket": attempt("socket", 1, 1, 0),
            "chmod": attempt("chmod", where, 0o755),
            "chown, by path": attempt("fchownat", 0xFFFFFF9C, where, 0xFFFFFFFF, 0xFFFFFFFF, 0),
            "chown, by descriptor": attempt("fchownat", 0xFFFFFFFF, where + 1, 0xFFFFFFFF, 0xFFFFFFFF, 0x1000),
            "fork": attempt("fork"),
            "clone": attempt("clone", signal.SIGCHLD),
            "execve": attempt("execve", where, 0, 0),
        }

    said, status = in_child([_filter.sentry_program()], body)
    assert status == 0
    assert ast.literal_eval(said.decode()) == {
        "read": errno.EBADF, "socket": errno.ENOSYS, "chmod": errno.ENOSYS, "chown, by path": errno.ENOSYS,
        "chown, by descriptor": errno.EBADF, "fork": errno.ENOSYS, "clone": errno.ENOSYS, "execve": errno.ENOSYS,
    }  # fmt: skip


def int80() -> None:
    """getpid of the 32-bit interface, by its own door."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


@pytest.mark.parametrize("attack", [int80, lambda: attempt(X32 | 39)], ids=["int 0x80", "x32"])
def test_other_doors_kill(attack: Callable[[], object]) -> None:
    listener, outer = _filter.guest_programs(0)
    said, status = in_child([outer, listener], attack)
    assert os.WIFSIGNALED(status), said
    assert os.WTERMSIG(status) in (signal.SIGSYS, signal.SIGSEGV)  # SIGSEGV: a kernel without the 32-bit interface
