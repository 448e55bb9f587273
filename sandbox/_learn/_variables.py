"""Which of the variables that the program was given the policy keeps: what of them is used, no call shows."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from sandbox._toml import spells
from sandbox._view import PATH, environment

from ._fold import parents, under
from ._seen import Need, Seen
from ._standing import Standing

_LOCALE = re.compile("LANG|LANGUAGE|LC_[A-Z]+|TZ")
_SECRET = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|AUTH|COOKIE|SESSION|API_?KEY|ACCESS_?KEY|_KEY$|^KEY", re.I)
_HERE = ("PWD", "OLDPWD", "_", "SHLVL")  # a shell makes its own


def kept(seen: Seen, granted: Collection[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Name to value and reason, and the names of what looks like a secret. Kept are those that the caller chose, those
    of language and time, and those whose value names a granted place, where the clean environment has another."""
    clean, found, secret = environment(), {}, []
    for name, value in sorted(seen.env.items()):
        value, reason = _wanted(name, value, name in seen.given, granted)
        if not reason or clean.get(name) == value or not spells(name + value):
            continue
        if _SECRET.search(name):
            secret.append(name)
        else:
            found[name] = (value, reason)
    return found, secret


def _wanted(name: str, value: str, given: bool, granted: Collection[str]) -> tuple[str, str]:
    """The value and why it is wanted, or no reason."""
    if name in _HERE:
        return value, ""
    if name == "PATH":
        path = _path(value, granted)
        return path, "directories that the guest has" if path else ""
    if any(_meets(part, granted) for part in value.split(":")):
        return value, "names a granted place"
    return value, "given" if given else "language and time" if _LOCALE.fullmatch(name) else ""


def _path(value: str, granted: Collection[str]) -> str:
    """Nothing where the clean environment has them all."""
    standing = Standing()
    parts = [part for part in dict.fromkeys(value.split(":")) if os.path.isabs(part) and os.path.isdir(part)]
    parts = [part for part in parts if _meets(part, granted) or standing.has(os.path.normpath(part), Need.LOOK)]
    return "" if set(parts) <= set(PATH.split(":")) else ":".join(parts)


def _meets(text: str, granted: Collection[str]) -> bool:
    """Is it a path at, below or above a granted place?"""
    path = os.path.normpath(text) if text.startswith("/") else "/"
    return path != "/" and (under(path, granted) is not None or any(path in parents(place) for place in granted))
