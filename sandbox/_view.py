"""What a guest sees at each path, as a list of places: the default view, and a policy laid over it. Reads names and
links of the host, never content."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from . import _trust
from ._errors import PolicyError
from ._grants import Content, Mount
from ._network import is_served
from ._policy import Policy


class Kind(Enum):
    """The kinds of enum sbx_mount_kind; names are those of its constants."""

    SKELETON = "SKELETON"
    HOST = "HOST"
    SCRATCH = "SCRATCH"
    BYTES = "BYTES"
    SERVICE = "SERVICE"
    LINK = "LINK"
    PROC = "PROC"
    PTS = "PTS"
    TTY = "TTY"


@dataclass(frozen=True, eq=False)  # told apart by identity, which costs nothing to hash
class Place:
    guest: str
    kind: Kind
    source: str = ""
    content: Content = b""
    writable: bool = False
    executable: bool = False
    device: bool = False
    sticky: bool = False
    hide: tuple[str, ...] = ()
    optional: bool = False  # of the default view: left out where it is gone


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME = "/home/user"
WORK = "/work"
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    *("alternatives", "crypto-policies", "debian_version", "inputrc", "ld-musl-x86_64.d", "ld-musl-x86_64.path"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "os-release", "perl", "pki/tls/certs"),
    *("protocols", "services", "shells", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone", "xattr.conf"),
)
_ETC_PREFIXES = ("java", "python")
_NSSWITCH = b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_HOSTS = b"127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def user_name() -> str:
    return "root" if os.getuid() == 0 else "user"


def environment() -> dict[str, str]:
    """The clean environment of a command."""
    name = user_name()
    return {"PATH": PATH, "HOME": HOME, "USER": name, "LOGNAME": name, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}


def _host(guest: str, source: str | None = None, hide: tuple[str, ...] = ()) -> Place:
    return Place(guest, Kind.HOST, os.path.realpath(source or guest), executable=True, hide=hide)


def _as_on_host(path: str) -> Iterator[Place]:
    """The host's file or directory read-only; a link stays a link where it leads into /usr."""
    if os.path.islink(path) and os.path.realpath(path).startswith("/usr/"):
        yield Place(path, Kind.LINK, os.readlink(path))
    elif os.path.exists(path):
        yield _host(path)


def _system() -> Iterator[Place]:
    yield from _as_on_host("/usr")
    for name in _SYSTEM:
        yield from _as_on_host("/" + name)


def _etc() -> Iterator[Place]:
    try:
        names = os.listdir("/etc")
    except OSError:
        names = []
    for name in (*_ETC, *(name for name in names if name.startswith(_ETC_PREFIXES))):
        yield from _as_on_host("/etc/" + name)
    for name, content in _accounts().items():
        yield Place("/etc/" + name, Kind.BYTES, content=content)
    yield Place("/etc/mtab", Kind.LINK, "/proc/self/mounts")


_RESOLV_CONF = Place("/etc/resolv.conf", Kind.BYTES, content=b"nameserver 127.0.0.53\n")


def _accounts() -> dict[str, bytes]:
    uid, gid, name = os.getuid(), os.getgid(), user_name()
    users = {"root": (0, 0, "/root", "/usr/sbin/nologin"), "nobody": (65534, 65534, "/", "/usr/sbin/nologin")}
    users = {key: entry for key, entry in users.items() if entry[0] != uid}
    users[name] = (uid, gid, HOME, "/bin/sh")
    groups = {gid: name, 0: "root", 5: "tty", 65534: "nogroup"}
    passwd = "".join(f"{key}:x:{u}:{g}:{key}:{home}:{shell}\n" for key, (u, g, home, shell) in sorted(users.items()))
    group = "".join(f"{key}:x:{number}:\n" for number, key in sorted(groups.items()))
    return {
        "passwd": passwd.encode(),
        "group": group.encode(),
        "hosts": _HOSTS,
        "hostname": b"sandbox\n",
        "host.conf": b"multi on\n",
        "nsswitch.conf": _NSSWITCH,
        "resolv.conf": b"# no network\n",
    }


def _private(path: str) -> bool:
    """Would this prefix show the caller's own files? The root, a home directory or what holds one."""
    homes = {os.path.expanduser("~"), "/home", "/root"}
    with suppress(KeyError):
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    real = os.path.realpath(path)
    return real == "/" or any((os.path.realpath(home) + "/").startswith(real + "/") for home in homes)


def _interpreter() -> Iterator[Place]:
    """The running Python, where it lies outside /usr. pip.conf may hold credentials of a registry."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    for prefix in sorted(prefixes | {os.path.realpath(prefix) for prefix in prefixes}):
        if not _private(prefix) and os.path.isdir(prefix) and not _covered(prefix, ("/usr",)):
            yield _host(os.path.normpath(prefix), hide=("pip.conf",))


def _covered(path: str, tops: tuple[str, ...]) -> bool:
    return any((path + "/").startswith(top + "/") for top in tops)


def _devices() -> Iterator[Place]:
    for name in ("null", "zero", "full", "random", "urandom"):
        if os.path.exists("/dev/" + name):
            yield Place("/dev/" + name, Kind.HOST, "/dev/" + name, writable=True, device=True)
    yield Place("/dev/tty", Kind.TTY)
    yield Place("/dev/pts", Kind.PTS)
    yield Place("/dev/shm", Kind.SCRATCH, writable=True, executable=True, sticky=True)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        yield Place("/dev/" + name, Kind.LINK, target)


def _kernel() -> Iterator[Place]:
    yield Place("/proc", Kind.PROC)
    if os.path.isdir("/sys/devices/system/cpu"):
        yield Place("/sys/devices/system/cpu", Kind.HOST, "/sys/devices/system/cpu")


def _scratch(guest: str, sticky: bool = False) -> Place:
    return Place(guest, Kind.SCRATCH, writable=True, executable=True, sticky=sticky)


def _default(root: Mount | None) -> Iterator[Place]:
    """What stands unless the policy names it. Another root keeps its own /work and home where it has them."""
    if root is None:
        yield Place("/", Kind.SKELETON)
        yield from _system()
        yield from _etc()
        yield from _interpreter()
    yield from _devices()
    yield from _kernel()
    yield _scratch("/tmp", sticky=True)
    for path in (WORK, HOME):
        if root is None or not os.path.lexists(root.source + path):
            yield _scratch(path)


def _named(policy: Policy) -> Iterator[Place]:
    for mount in policy.mounts:
        yield Place(
            mount.target,
            Kind.HOST,
            os.path.realpath(mount.source),
            writable=mount.writable,
            executable=not mount.noexec,
            hide=mount.hide,
        )
    for guest, trust in _trust.files(policy).items():
        yield Place(guest, Kind.SERVICE, content=trust)
    for scratch in policy.scratch:
        yield Place(scratch.target, Kind.SCRATCH, writable=True, executable=not scratch.noexec)
    for file in policy.files:
        kind = Kind.BYTES if isinstance(file.content, bytes) else Kind.SERVICE
        yield Place(file.target, kind, content=file.content, executable=file.executable)


def _key() -> tuple[object, ...]:
    """What the default view depends on, but for what lies deeper in the system's directories."""
    changed = (os.stat(folder).st_mtime_ns for folder in ("/", "/etc"))
    return (*changed, os.getuid(), os.getgid(), sys.prefix, sys.base_prefix, os.environ.get("HOME"))


@lru_cache(maxsize=2)
def _standing(*_: object) -> tuple[Place, ...]:
    """The default view: looked for once, and again when it may have changed."""
    return tuple(replace(place, optional=place.kind is Kind.HOST) for place in _default(None))


def places(policy: Policy) -> list[Place]:
    """Every place of the policy's view, one a guest path: what the policy names takes the default's place."""
    root = next((mount for mount in policy.mounts if mount.target == "/"), None)
    standing = _standing(*_key()) if root is None else _default(root)
    view = {place.guest: place for place in standing}
    if is_served(policy.network) and root is None:
        view["/etc/resolv.conf"] = _RESOLV_CONF
    named = {place.guest: place for place in _named(policy)}
    seen = {**view, **named}
    for place in named.values():
        target = _canonical(place.guest, seen)
        if target != place.guest and target in named:
            raise PolicyError(f"{place.guest}: leads to {target}, which is given too")
        view[target] = replace(place, guest=target)
    if named:
        view.update(_parents(view))
    return list(view.values())


def _is_file(place: Place) -> bool:
    if place.kind is Kind.HOST:
        return os.path.exists(place.source) and not os.path.isdir(place.source)
    return place.kind in (Kind.BYTES, Kind.SERVICE, Kind.TTY, Kind.LINK)


def _parents(view: Mapping[str, Place]) -> dict[str, Place]:
    """Directories above mount points that the host directory around them does not have."""
    found: dict[str, Place] = {}
    for guest in sorted(view):
        holder = parent = os.path.dirname(guest)
        while holder not in view and holder not in found:
            holder = os.path.dirname(holder)
        place = view.get(holder)
        if place is not None and guest != "/" and _is_file(place):
            raise PolicyError(f"{guest}: lies below {holder}, which is a file")
        if place is None or place.kind is not Kind.HOST or parent == holder:
            continue
        rest = parent[len(holder.rstrip("/")) :].strip("/").split("/")
        tops = ("/".join(rest[:count]) for count in range(1, len(rest) + 1))
        missing = next((top for top in tops if not os.path.isdir(os.path.join(place.source, top))), None)
        if missing is not None:
            top = os.path.join(holder, missing)
            found[top] = Place(top, Kind.SKELETON)
    return found


def _canonical(target: str, view: Mapping[str, Place]) -> str:
    """A guest path without links above its last name: a mount point is found by its true path only."""
    for _ in range(40):
        parts = target.strip("/").split("/")
        tops = ("/" + "/".join(parts[:count]) for count in range(1, len(parts)))
        link = next(((top, text) for top in tops if (text := _link(top, view))), None)
        if link is None:
            return target
        top, text = link
        target = os.path.normpath(os.path.join(os.path.dirname(top), text) + target[len(top) :])
        target = "/" + target.lstrip("/")
    raise PolicyError(f"{target}: too many links")


def _link(path: str, view: Mapping[str, Place]) -> str | None:
    holder = path
    while holder not in view:
        holder = os.path.dirname(holder)
        if holder == "/" and holder not in view:
            return None
    place, rest = view[holder], path[len(holder.rstrip("/")) :]
    if place.kind is Kind.LINK:
        return place.source if not rest else None
    if place.kind is not Kind.HOST or not rest:
        return None
    try:
        return os.readlink(place.source + rest)
    except OSError:
        return None


def children(view: Iterable[Place], folder: str) -> tuple[set[str], set[str]]:
    """Names that mount points add to a directory, and names that are hidden in it."""
    folder = os.path.normpath(folder)
    top = "" if folder == "/" else folder
    added: set[str] = set()
    hidden: set[str] = set()
    for place in view:
        if place.guest.startswith(top + "/") and place.guest != folder:
            added.add(place.guest[len(top) + 1 :].split("/")[0])
        for name in place.hide:
            parent, _, last = f"{place.guest.rstrip('/')}/{name}".rpartition("/")
            if (parent or "/") == folder:
                hidden.add(last)
    return added, hidden
