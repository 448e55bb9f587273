"""Directories that are never granted whole because of some of their entries: those of the system that many share, and
homes."""

from __future__ import annotations

import os
import pwd
from functools import lru_cache

_TOPS = "bin boot dev etc home lib lib32 lib64 libx32 lost+found media mnt opt proc root run sbin srv sys tmp usr var"
_DEEPER = (
    *("/etc/ssl", "/run/lock", "/run/user", "/usr/bin", "/usr/include", "/usr/lib", "/usr/libexec", "/usr/local"),
    *("/usr/local/bin", "/usr/local/etc", "/usr/local/lib", "/usr/local/sbin", "/usr/local/share", "/usr/sbin"),
    *("/usr/share", "/usr/src", "/var/cache", "/var/lib", "/var/lock", "/var/log", "/var/mail", "/var/opt"),
    *("/var/run", "/var/spool", "/var/tmp", "/var/www", "/dev/shm"),
)
_IN_HOMES = (
    *(".cache", ".config", ".local", ".local/bin", ".local/lib", ".local/share", ".local/state", ".ssh", ".gnupg"),
    *("Desktop", "Documents", "Downloads"),
)
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")


@lru_cache(maxsize=1)
def _homes() -> frozenset[str]:
    found = {os.path.expanduser("~"), "/root", *(entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid >= 1000)}
    return frozenset(os.path.normpath(home) for home in found if home.startswith("/"))


@lru_cache(maxsize=1)
def _broad() -> frozenset[str]:
    homes = _homes()
    inside = (os.path.join(home, name) for home in homes for name in _IN_HOMES)
    return frozenset({"/", *("/" + name for name in _TOPS.split()), *_DEEPER, *homes, *inside})


def is_broad(path: str) -> bool:
    """Is a directory one of them, or does it hold a home?

    >>> is_broad("/etc"), is_broad("/var/lib"), is_broad("/srv/site")
    (True, True, False)
    """
    return path in _broad() or path.startswith("/run/user/") and path.count("/") == 3 or _holds_home(path)


def _holds_home(path: str) -> bool:
    return any(home.startswith(path + "/") for home in _homes())
