"""What a policy says of calls that give what is there another name: link and rename (fs_names.c)."""

from __future__ import annotations

import errno
import os

from .answers import allowed, depends, fails, not_empty, pinned, read_only
from .explanation import Said
from .names import Named, cannot_stand, may_be_made, named, too_long
from .walk import Found, Walk, may, own


def link(walk: Walk, path: str, to: str) -> Said:
    """No link at the end of `path` is followed, as by link(2)."""
    source = walk(path, follow=False)
    if source.kind in ("special", "missing"):
        return depends(source) if source.kind == "special" else source.missing().said
    new = named(walk, to)
    wrong = cannot_stand(new, directory=False)
    if wrong:
        return wrong
    if source.place is not new.found.place:
        return fails(errno.EXDEV, new.found, "both names of a file are of one mount")
    if source.kind == "directory":
        return fails(errno.EPERM, source, f"{source.guest} is a directory")
    if not _may_be_linked(source):
        return fails(errno.EPERM, source, "it is another user's, who has not let this one read and write it")
    return may_be_made(new)


def _may_be_linked(source: Found) -> bool:
    """The kernel's protection of hard links, where it is on."""
    try:
        with open("/proc/sys/fs/protected_hardlinks") as file:
            protected = file.read(1) == "1"
    except OSError:
        protected = True
    return not protected or own(source) or (source.kind == "file" and may(source, os.R_OK | os.W_OK))


def rename(walk: Walk, path: str, to: str) -> Said:
    old, new = named(walk, path), named(walk, to)
    for each in (old, new):
        if each.found.kind == "special":
            return depends(each.found)
    holder = old.holder
    if holder.place is not new.holder.place:
        return fails(errno.EXDEV, new.found, "both names are of one mount")
    if old.last or new.last:
        return fails(errno.EBUSY, holder, "it is no name in a directory")
    if not holder.place.writable:
        return read_only(holder)
    for each in (old, new):
        if each.is_point or (each.found.kind == "directory" and walk.shelters(each.found)):
            return pinned(each.found)
    return _moved(old, new)


def _moved(old: Named, new: Named) -> Said:
    """As the kernel decides it, in its order (do_renameat2, vfs_rename)."""
    found, target = old.found, new.found
    wrong = too_long(old) or too_long(new)
    if wrong or not old.there:
        return wrong or found.missing().said
    is_directory = found.kind == "directory"
    if is_directory and target.guest.startswith(f"{found.guest}/"):
        return fails(errno.EINVAL, found, "a directory does not move into itself")
    if not is_directory and (old.slash or (new.slash and not new.there)):
        return fails(errno.ENOTDIR, found, f"{found.guest} is no directory")
    if not is_directory and new.slash:
        return fails(errno.ENOTDIR, target, f"{found.guest} is no directory")
    if found.guest.startswith(f"{target.guest}/"):
        return fails(errno.ENOTEMPTY, target, f"{target.guest} is not empty")
    if found.host == target.host:
        return allowed(found, "it has that name")
    for each in (old, new):
        if not may(each.parent, os.W_OK | os.X_OK):
            return fails(errno.EACCES, each.found, f"the user may not write to {each.parent.host}")
    return _over(old, new) or allowed(found, "it may be moved there")


def _over(old: Named, new: Named) -> Said | None:
    """What there is may be replaced, by its kind."""
    is_directory, target = old.found.kind == "directory", new.found
    if new.there and is_directory and target.kind != "directory":
        return fails(errno.ENOTDIR, target, f"{target.guest} is no directory")
    if new.there and not is_directory and target.kind == "directory":
        return fails(errno.EISDIR, target, f"{target.guest} is a directory")
    if is_directory and old.parent.guest != new.parent.guest and not may(old.found, os.W_OK):
        return fails(errno.EACCES, old.found, f"the user may not write to {old.found.host}")
    return not_empty(target) if new.there and is_directory else None
