"""Texts of /proc, made for a guest out of the kernel's own. Pure functions: bytes in, bytes out; one line a file.

>>> view = ProcService([Mounted(b"/", (b"/m/0",)), Mounted(b"/work", (b"/m/1",), b"rw", b"tmpfs")])
>>> view.content(Request(7, b"7/mounts"))
b'sandbox / sandbox ro,nosuid,nodev 0 0\\nsandbox /work tmpfs rw,nosuid,nodev 0 0\\n'
"""

from __future__ import annotations

import errno
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._messages import Refused, Request

STUB_NAMES = (b"/stub", b"/memfd:stub", b"/memfd:sandbox-stub")
DELETED = b" (deleted)"


@dataclass(frozen=True)
class Mounted:
    """One mount as /proc shows it. `prefixes` are the kernel's own names for its root, which no guest may read."""

    guest: bytes
    prefixes: tuple[bytes, ...] = ()
    access: bytes = b"ro"
    kind: bytes = b"sandbox"


class ProcService:
    """Every virtual text of /proc; unknown names are refused with ENOENT."""

    def __init__(self, mounts: Sequence[Mounted]) -> None:
        self.mounts = tuple(mounts)
        self.boot = str(uuid.uuid4()).encode() + b"\n"
        named = [(prefix, mount.guest) for mount in mounts for prefix in mount.prefixes]
        self._prefixes = sorted(named, key=lambda pair: len(pair[0]), reverse=True)

    def content(self, request: Request) -> bytes:
        head, _, rest = request.name.partition(b"/")
        if head.isdigit() or head in (b"self", b"thread-self"):
            entry = re.sub(rb"\Atask/\d+/", b"", rest)
            return _as_seen(_of(PROCESS, entry, self, request.source), head, entry, request)
        return _of(GLOBAL, request.name, self, request.source)

    def guest_name(self, kernel_name: bytes) -> bytes:
        """The guest's path of a file that the kernel names so; empty where the guest has none."""
        for prefix, guest in self._prefixes:
            rest = kernel_name[len(prefix) :]
            if kernel_name.startswith(prefix) and (not rest or rest.startswith((b"/", DELETED))):
                return (guest.rstrip(b"/") + rest) or b"/"
        return b""


def _as_seen(text: bytes, head: bytes, entry: bytes, request: Request) -> bytes:
    """What the kernel cannot know: the umask is the sentry's to keep, and who reads of itself runs, though it waits."""
    own = head == b"%d" % request.handle
    if entry == b"status":
        text = re.sub(rb"(?m)^Umask:\t\d+$", b"Umask:\t%04o" % request.umask, text)
        return re.sub(rb"(?m)^State:\tS .*$", b"State:\tR (running)", text) if own else text
    return re.sub(rb"\) S (?=[^)]*\Z)", b") R ", text) if own and entry == b"stat" else text


Maker = Callable[[ProcService, bytes], bytes]


def _of(table: dict[bytes, Maker], name: bytes, service: ProcService, source: bytes | None) -> bytes:
    maker = table.get(name) or table.get(re.sub(rb"/\d+\Z", b"/*", name))
    if maker is None or (source is None and maker not in NEED_NO_SOURCE):
        raise Refused(errno.ENOENT)
    return maker(service, source or b"")


# ---- makers -----------------------------------------------------------------------------------------------------


def as_is(_: ProcService, source: bytes) -> bytes:
    return source


_MAPPING = re.compile(rb"(?P<head>[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+)(?P<gap> *)(?P<name>.*)")


def maps(service: ProcService, source: bytes) -> bytes:
    """maps and smaps: names of the guest's view; our own stub is left out, with the lines that describe it."""
    kept: list[bytes] = []
    keep = True
    for line in source.split(b"\n"):
        found = _MAPPING.fullmatch(line)
        if found:
            name = found["name"]
            keep = not name.removesuffix(DELETED).endswith(STUB_NAMES) if _is_path(name) else True
            if _is_path(name) and not _is_anonymous(name):
                shown = service.guest_name(name)
                line = found["head"] + (found["gap"] + shown if shown else b" ")
        if keep:
            kept.append(line)
    return b"\n".join(kept)


def _is_path(name: bytes) -> bool:
    return name.startswith(b"/")


def _is_anonymous(name: bytes) -> bool:
    """Memory that has a name but lies in no file system that the guest could see."""
    return name.startswith((b"/memfd:", b"/SYSV", b"/dev/zero (deleted)", b"/anon_hugepage"))


def _hidden_line(pattern: bytes, shown: bytes) -> Maker:
    line = re.compile(pattern, re.MULTILINE)
    return lambda _, source: line.sub(shown, source)


status = _hidden_line(rb"^TracerPid:\t\d+$", b"TracerPid:\t0")


def limits(_: ProcService, source: bytes) -> bytes:
    """The limits that carry the guest's identity and keep core dumps away, as any process has them."""
    for name, shown in ((b"Max file locks", b"unlimited"), (b"Max core file size", b"0")):
        row = re.compile(rb"^%s +\S+ +\S+ +(\S+) *$" % name, re.MULTILINE)
        found = row.search(source)
        if found:
            line = b"%-25s %-20s %-20s %-10s" % (name, shown, shown, found[1])
            source = source[: found.start()] + line + source[found.end() :]
    return source


def loadavg(_: ProcService, source: bytes) -> bytes:
    """How many processes the host has, and its newest id, are not the guest's."""
    return re.sub(rb" \d+/\d+ \d+\n\Z", b" 1/1 1\n", source)


def _escaped(path: bytes) -> bytes:
    return re.sub(rb"[ \t\n\\]", lambda found: b"\\%03o" % found[0][0], path)


def mounts(service: ProcService, _: bytes) -> bytes:
    rows = (
        b"sandbox %s %s %s,nosuid,nodev 0 0\n" % (_escaped(mount.guest), mount.kind, mount.access)
        for mount in service.mounts
    )
    return b"".join(rows)


def mountinfo(service: ProcService, _: bytes) -> bytes:
    rows = (
        b"%d %d 0:%d / %s %s,nosuid,nodev - %s sandbox %s\n"
        % (20 + i, 19 if i == 0 else 20, 20 + i, _escaped(mount.guest), mount.access, mount.kind, mount.access)
        for i, mount in enumerate(service.mounts)
    )
    return b"".join(rows)


def mountstats(service: ProcService, _: bytes) -> bytes:
    rows = (b"device sandbox mounted on %s with fstype %s\n" % (_escaped(m.guest), m.kind) for m in service.mounts)
    return b"".join(rows)


def boot_id(service: ProcService, _: bytes) -> bytes:
    return service.boot


def random_uuid(_: ProcService, __: bytes) -> bytes:
    return str(uuid.uuid4()).encode() + b"\n"


def fixed(text: bytes) -> Maker:
    def maker(_: ProcService, __: bytes) -> bytes:
        return text

    NEED_NO_SOURCE.add(maker)
    return maker


def own(text: bytes) -> Maker:
    """The kernel's, which the sentry shows where it is of the guest's own namespace; this text elsewhere."""

    def maker(_: ProcService, source: bytes) -> bytes:
        return source or text

    NEED_NO_SOURCE.add(maker)
    return maker


# ---- the tables ---------------------------------------------------------------------------------------------------

NEED_NO_SOURCE: set[Maker] = {mounts, mountinfo, mountstats, boot_id, random_uuid}
_DEV = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    b"compressed\n"
    b"    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0"
    b"          0\n"
)
_INET = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_INET6 = _INET.replace(b"local_address rem_address  ", b"local_address".ljust(38) + b"remote_address".ljust(27))
_NET = {
    b"arp": b"IP address       HW type     Flags       HW address            Mask     Device\n",
    b"dev": _DEV,
    b"if_inet6": b"00000000000000000000000000000001 01 80 10 80       lo\n",
    b"raw": _INET + b" ref pointer drops\n",
    b"route": b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n",
    b"tcp": _INET + b"\n",
    b"tcp6": _INET6 + b"\n",
    b"udp": _INET + b" ref pointer drops\n",
    b"udp6": _INET6 + b" ref pointer drops\n",
    b"unix": b"Num       RefCount Protocol Flags    Type St Inode Path\n",
    b"netlink": b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    b"packet": b"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n",
    b"protocols": b"protocol  size sockets  memory press maxhdr  slab module\n",
    b"ipv6_route": b"",
    b"sockstat": b"sockets: used 0\n",
}
_INTERFACES = (b"dev", b"if_inet6", b"route")
_KEPT = (
    *(b"auxv", b"cmdline", b"comm", b"environ", b"fdinfo/*", b"oom_adj", b"oom_score", b"oom_score_adj", b"stat"),
    *(b"statm", b"schedstat", b"sched", b"wchan", b"io", b"personality", b"syscall", b"timerslack_ns"),
    *(b"coredump_filter", b"children", b"uid_map", b"gid_map", b"setgroups", b"loginuid", b"sessionid"),
)
PROCESS: dict[bytes, Maker] = {
    **dict.fromkeys(_KEPT, as_is),
    **{b"net/" + name: (own if name in _INTERFACES else fixed)(text) for name, text in _NET.items()},
    b"cgroup": fixed(b"0::/\n"),
    b"limits": limits,
    b"maps": maps,
    b"mountinfo": mountinfo,
    b"mounts": mounts,
    b"mountstats": mountstats,
    b"smaps": maps,
    b"smaps_rollup": as_is,
    b"status": status,
}
_KERNEL = (
    *(b"cap_last_cap", b"domainname", b"hostname", b"ngroups_max", b"osrelease", b"ostype", b"overflowgid"),
    *(b"overflowuid", b"pid_max", b"random/entropy_avail", b"random/poolsize", b"sem", b"shmall", b"shmmax"),
    *(b"shmmni", b"msgmax", b"msgmnb", b"msgmni", b"threads-max", b"version", b"seccomp/actions_avail"),
    *(b"randomize_va_space", b"perf_event_paranoid", b"sched_rt_runtime_us", b"arch", b"core_uses_pid"),
    b"sched_child_runs_first",
)
_FS = (
    *(b"file-max", b"file-nr", b"inotify/max_queued_events", b"inotify/max_user_instances"),
    *(b"inotify/max_user_watches", b"nr_open", b"pipe-max-size", b"pipe-user-pages-soft", b"pipe-user-pages-hard"),
    *(b"lease-break-time", b"leases-enable", b"mqueue/msg_max", b"mqueue/msgsize_max", b"mqueue/queues_max"),
)
_VM = (
    *(b"max_map_count", b"mmap_min_addr", b"nr_hugepages", b"overcommit_memory", b"overcommit_ratio"),
    *(b"swappiness", b"min_free_kbytes"),
)
GLOBAL: dict[bytes, Maker] = {
    **dict.fromkeys((b"cpuinfo", b"filesystems", b"meminfo", b"stat", b"uptime", b"version", b"vmstat"), as_is),
    **{b"sys/kernel/" + name: as_is for name in _KERNEL},
    **{b"sys/fs/" + name: as_is for name in _FS},
    **{b"sys/vm/" + name: as_is for name in _VM},
    b"cgroups": fixed(b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n"),
    b"loadavg": loadavg,
    b"swaps": fixed(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    b"sys/kernel/core_pattern": fixed(b"core\n"),
    b"sys/kernel/random/boot_id": boot_id,
    b"sys/kernel/random/uuid": random_uuid,
    b"sys/kernel/yama/ptrace_scope": fixed(b"3\n"),
    b"sys/net/core/somaxconn": fixed(b"4096\n"),
    b"sys/net/ipv4/ip_local_port_range": fixed(b"32768\t60999\n"),
    b"sys/net/ipv4/tcp_fin_timeout": fixed(b"60\n"),
    b"sys/net/ipv6/conf/all/disable_ipv6": fixed(b"0\n"),
}
