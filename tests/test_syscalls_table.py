"""The table of csrc/syscalls.c: complete, consistent, and the promises that SECURITY.md makes about it."""

from __future__ import annotations

import re
import subprocess

import pytest

from sandbox import _core, surface
from sandbox._core import Option, Route
from sandbox._core.binding import ffi, lib

ROWS = _core.syscalls()
BY_NAME = {row.name: row for row in ROWS}
TABLE_RULES = [(_core.guest_rules, "guest"), (_core.sentry_rules, "sentry")]
PRIVATE = lib.SBX_PRIVATE_CALL


def machine_numbers() -> dict[str, int]:
    """Names and numbers as this machine's kernel headers have them."""
    text = subprocess.run(
        ["gcc", "-E", "-dM", "-include", "asm/unistd_64.h", "-x", "c", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name: int(nr) for name, nr in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def test_rows_are_sorted_and_single() -> None:
    numbers = [row.nr for row in ROWS]
    assert numbers == sorted(set(numbers))
    assert len(BY_NAME) == len(ROWS)


def test_every_number_up_to_the_newest_has_a_row() -> None:
    assert [row.nr for row in ROWS] == [*range(337), *range(424, 470), PRIVATE]


def test_names_and_numbers_are_the_machines() -> None:
    ours = {row.name: row.nr for row in ROWS}
    newer_than_us = {name: nr for name, nr in machine_numbers().items() if nr > 469}
    assert {**machine_numbers(), **ours} == {**ours, **newer_than_us}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_it_needs(row: _core.Syscall) -> None:
    rules = [rule for rule in _core.guest_rules() if rule.nr == row.nr]
    assert row.reason
    if row.route is Route.REFUSED:
        assert row.error and row.op == "none" and not rules
        assert set(row.roles) == {"none"}, "what takes a name is served, so that it leaves a record"
    elif row.route is Route.SERVED:
        assert row.op != "none" and not rules
    else:
        assert (row.op == "none") == (not rules), "a native call is served where its rules do not match"
    assert bool(row.error) == (row.route is Route.REFUSED or row.op == "deny")
    assert row.roles.count("path") <= 2


@pytest.mark.parametrize(("table", "who"), TABLE_RULES)
def test_rules_belong_to_rows(table, who) -> None:
    rules = table()
    assert [rule.nr for rule in rules] == sorted(rule.nr for rule in rules)
    known = {row.nr for row in ROWS if (row.sentry if who == "sentry" else row.route is Route.NATIVE)}
    assert {rule.nr for rule in rules} <= known
    for rule in rules:
        assert len({each.arg for each in rule.comparisons}) == len(rule.comparisons), "libseccomp takes one an argument"
        for each in rule.comparisons:
            assert each.arg < 6 and each.mask and each.value & ~each.mask == 0
            assert each.mask <= 0xFFFFFFFF or each.mask == 0xFFFFFFFFFFFFFFFF, "an int, or a whole pointer"


def test_ints_are_compared_by_their_low_half() -> None:
    """Pointers are the only 64-bit comparisons, and only NULL passes."""
    wide = {
        (rule.nr, each.value) for rule in _core.guest_rules() for each in rule.comparisons if each.mask > 0xFFFFFFFF
    }
    assert wide == {(BY_NAME[name].nr, 0) for name in ("accept", "accept4", "sendto", "recvfrom")}


def test_never_trapped() -> None:
    """An interrupted close hangs pipelines; a trapped fork hangs its parent."""
    for name in ("close", "fork", "vfork", "read", "write", "futex", "mmap", "poll", "rt_sigreturn", "exit_group"):
        assert BY_NAME[name].route is Route.NATIVE and BY_NAME[name].op == "none"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("clone3", "ENOSYS"), ("io_uring_setup", "ENOSYS"), ("openat2", "ENOSYS"), ("memfd_secret", "ENOSYS"),
        ("userfaultfd", "EPERM"), ("bpf", "EPERM"), ("perf_event_open", "EACCES"), ("keyctl", "ENOSYS"),
        ("modify_ldt", "ENOSYS"), ("mount", "EPERM"), ("setns", "EPERM"), ("ptrace", "EPERM"), ("seccomp", "EINVAL"),
        ("process_vm_readv", "EPERM"), ("kcmp", "EPERM"), ("pidfd_getfd", "EPERM"), ("landlock_add_rule", "ENOSYS"),
        ("statmount", "ENOSYS"), ("setxattrat", "ENOSYS"), ("file_setattr", "ENOSYS"), ("open_by_handle_at", "EPERM"),
    ],
)  # fmt: skip
def test_refusals_are_the_errors_that_programs_handle(name: str, error: str) -> None:
    row = BY_NAME[name]
    assert row.route is Route.REFUSED or row.op == "deny"
    assert surface._errno(row.error) == error


def test_calls_on_names_are_served() -> None:
    takes_names = re.compile(
        r"(open|openat|creat|[ln]?stat|access|readlink|truncate|mkdir|rmdir|unlink|rename|link|symlink|mknod|chmod|"
        r"l?chown|fchownat|fchmodat|utime|statfs|chdir|execve|mount|pivot_root|chroot|acct|swapon|swapoff|inotify_add|"
        r"fanotify_mark)(at|2|at2|64|x|s|ns|nsat|_by_handle_at|_tree|_tree_attr|_setattr|_watch)?|\w*xattr(at)?|file_[gs]etattr"
    )
    checked = [row for row in ROWS if takes_names.fullmatch(row.name)]
    assert len(checked) > 60
    for row in checked:
        assert row.route is Route.SERVED, row.name


def test_a_sentry_names_no_address_and_mounts_nothing() -> None:
    may = {row.name for row in ROWS if row.sentry}
    assert not may & {
        "socket", "socketpair", "sendto", "sendmmsg", "accept", "listen", "setsockopt", "mount", "umount2",
        "open_tree", "move_mount", "unshare", "setns", "fork", "vfork", "execve", "seccomp", "prctl",
        "chmod", "chown", "lchown", "fchmodat", "utimes", "lsetxattr", "io_uring_setup", "bpf",
        "userfaultfd", "init_module", "clone3", "capset", "setuid", "setgroups",
    }  # fmt: skip


def test_a_sentry_executes_nothing() -> None:
    """execveat is there to ask whether a program is being written (AT_EXECVE_CHECK), never to run one."""
    rules = [rule for rule in _core.sentry_rules() if rule.nr == BY_NAME["execveat"].nr]
    assert bool(rules) == BY_NAME["execveat"].sentry
    assert all(each.value & 0x10000 and each.mask & 0x10000 for rule in rules for each in rule.comparisons)


def test_options_only_add() -> None:
    """What an option lets pass is only ever more."""
    before = 0
    for options in (Option(0), Option.EMPTY_ROOT, Option.EMPTY_ROOT | Option.PID_NAMESPACE, surface.EVERY_OPTION):
        now = surface.counts(options).guest
        assert now > before
        before = now


def test_counts_add_up() -> None:
    total = surface.counts()
    assert total.native + total.ruled + total.served + total.refused == len(ROWS)
    assert surface.summary() in surface.table()


@pytest.mark.parametrize(
    ("enum", "declared", "prefix"),
    [
        (_core.Route, "enum sbx_route", "SBX_"), (Option, "enum sbx_option", "SBX_OPTION_"),
        (_core.MountKind, "enum sbx_mount_kind", "SBX_MOUNT_"), (_core.MountFlag, "enum sbx_mount_flag", "SBX_MOUNT_"),
        (_core.Wall, "enum sbx_wall", "SBX_WALL_"), (_core.MessageType, "enum sbx_message_type", "SBX_MSG_"),
        (_core.Serve, "enum sbx_serve", "SBX_SERVE_"), (_core.Fetch, "enum sbx_fetch", "SBX_FETCH_"),
        (_core.Exceeded, "enum sbx_exceeded", "SBX_EXCEEDED_"), (_core.Verdict, "enum sbx_verdict", "SBX_VERDICT_"),
        (_core.CommandFlag, "enum sbx_command_flag", "SBX_COMMAND_"),
    ],
)  # fmt: skip
def test_python_has_every_name_of_the_contract(enum, declared: str, prefix: str) -> None:
    names = {name[len(prefix) :]: value for value, name in ffi.typeof(declared).elements.items()}
    names.pop("COUNT", None)
    assert {member.name: member.value for member in enum} == names
