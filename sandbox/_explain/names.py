"""What a policy says of calls that make and remove names: mkdir, symlink, mknod, unlink, rmdir. The order of the
errors is the sentry's (fs_names.c), which is Linux's: the parent, the last component, the mount, the object."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace

from .._view import Kind
from .answers import allowed, depends, fails, made_up, not_empty, pinned, read_only
from .explanation import Said
from .walk import NAME_MAX, Found, Walk, may

DOT, DOTDOT, ROOT = ".", "..", "/"
_OF_DIRECTORY = {DOT: errno.EINVAL, DOTDOT: errno.ENOTEMPTY, ROOT: errno.EBUSY}


@dataclass(frozen=True)
class Named:
    """A last component: what is there (no link is followed), and the directory that has it. `last` is one of DOT,
    DOTDOT and ROOT where it is no name, `slash`: one follows it, `long`: it is longer than a name can be."""

    found: Found
    parent: Found
    last: str
    slash: bool
    long: bool = False

    @property
    def holder(self) -> Found:
        """Whose mount a change of the name is in."""
        return self.parent if self.is_point else self.found

    @property
    def is_point(self) -> bool:
        return not self.found.rest and not self.last

    @property
    def there(self) -> bool:
        return self.found.kind != "missing"


def named(walk: Walk, path: str) -> Named:
    bare = path.rstrip("/")
    name = bare.rpartition("/")[2]
    slash = bare != path
    if name in ("", DOT, DOTDOT):
        found = walk(f"{bare}/" if name == DOT else bare[: -len(name)] + "." if name else "/")
        return Named(found, found, name or ROOT, slash)
    if len(os.fsencode(name)) > NAME_MAX:
        parent = walk(bare[: -len(name)] + ".")
        found = replace(parent, guest=f"{parent.guest}/{name}", rest=f"{parent.rest}/{name}", kind="missing")
        return Named(found, parent, "", slash, long=True)
    found = walk(bare, follow=False)
    return Named(found, walk.parent(found), "", slash)


def too_long(each: Named) -> Said | None:
    return fails(errno.ENAMETOOLONG, each.parent, f"a name of more than {NAME_MAX} bytes") if each.long else None


def mkdir(walk: Walk, path: str, _: str) -> Said:
    return made(named(walk, path), directory=True)


def symlink(walk: Walk, path: str, _: str) -> Said:
    """`path` is the new link's."""
    return made(named(walk, path), directory=False)


mknod = symlink


def made(new: Named, *, directory: bool) -> Said:
    """A name that is to be made."""
    return cannot_stand(new, directory=directory) or may_be_made(new)


def cannot_stand(new: Named, *, directory: bool) -> Said | None:
    found = new.found
    if found.kind == "special":
        return depends(found)
    if new.long:
        return too_long(new)
    if new.last or new.there:
        return fails(errno.EEXIST, found, f"{found.guest} is there")
    if new.slash and not directory:
        return fails(errno.ENOENT, found, "a name that ends in a slash is a directory's")
    return None if found.place.writable else read_only(found)


def may_be_made(new: Named) -> Said:
    if not may(new.parent, os.W_OK | os.X_OK):
        return fails(errno.EACCES, new.found, f"the user may not write to {new.parent.host}")
    return allowed(new.found, "it may be made there")


def unlink(walk: Walk, path: str, _: str) -> Said:
    return _removed(walk, named(walk, path), directory=False)


def rmdir(walk: Walk, path: str, _: str) -> Said:
    return _removed(walk, named(walk, path), directory=True)


def _removed(walk: Walk, old: Named, *, directory: bool) -> Said:
    found = old.found
    if old.last:
        return fails(_OF_DIRECTORY[old.last] if directory else errno.EISDIR, found, "it is no name in a directory")
    if found.kind == "special":
        return depends(found)
    if found.place.kind is Kind.SERVICE:
        return made_up(found)
    if not old.holder.place.writable:
        return read_only(old.holder)
    if not old.there:
        return too_long(old) or found.missing().said
    wrong = _wrong_kind(old, directory=directory)
    if old.is_point:
        return wrong or pinned(found)
    if not directory and old.slash and wrong:
        return wrong
    if not may(old.parent, os.W_OK | os.X_OK):
        return fails(errno.EACCES, found, f"the user may not write to {old.parent.host}")
    if wrong:
        return wrong
    if directory and walk.shelters(found):
        return fails(errno.ENOTEMPTY, found, f"{found.guest} is not empty")
    return (not_empty(found) if directory else None) or allowed(found, "it may be removed")


def _wrong_kind(old: Named, *, directory: bool) -> Said | None:
    is_directory = old.found.kind == "directory"
    if directory and not is_directory or not directory and old.slash and not is_directory:
        return fails(errno.ENOTDIR, old.found, f"{old.found.guest} is no directory")
    if not directory and is_directory:
        return fails(errno.EISDIR, old.found, f"{old.found.guest} is a directory")
    return None
