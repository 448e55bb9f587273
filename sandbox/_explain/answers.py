"""The answers that calls on paths have in common."""

from __future__ import annotations

import errno
import os

from .. import _remedies
from .._describe import describe
from .explanation import Said
from .walk import Found


def allowed(found: Found, reason: str) -> Said:
    return Said("allowed", None, describe(found.place), reason)


def depends(found: Found) -> Said:
    return Said("depends", None, describe(found.place), "what is there depends on what the guest does")


def fails(error: int, found: Found, reason: str) -> Said:
    return Said("fails", errno.errorcode[error], describe(found.place), reason, "host")


def read_only(found: Found) -> Said:
    remedy = _remedies.write(found.place, found.guest)
    return Said("refused", "EROFS", describe(found.place), "it is read-only", "read-only", remedy)


def pinned(found: Found) -> Said:
    """A mount stands there, or below, and stays."""
    return Said("refused", "EBUSY", describe(found.place), f"a mount stands at {found.guest} or below it", "sentry")


def made_up(found: Found) -> Said:
    return Said("refused", "EPERM", describe(found.place), "its content is made at each open", "sentry")


def not_empty(found: Found) -> Said | None:
    """Of a directory that has to be empty, and none where it is."""
    try:
        names = os.listdir(found.host)
    except PermissionError:
        return Said("depends", None, describe(found.place), f"whether {found.host} is empty is not the user's to see")
    return fails(errno.ENOTEMPTY, found, f"{found.guest} is not empty") if names else None
