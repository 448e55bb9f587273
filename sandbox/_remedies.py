"""What would allow a refused call: the option of the command line, and the line of a policy."""

from __future__ import annotations

import json
import os
import shlex

from ._view import Kind, Place

PRIVATE = "/work, /tmp or /home/user"


def _pair(source: str, target: str) -> str:
    return shlex.quote(source if source == target else f"{source}:{target}")


def show(path: str) -> str:
    """To let a guest see what the host has at a path."""
    return f"--ro {_pair(path, path)}"


def write(place: Place, guest: str) -> str:
    """To let a guest change what is at a path of a place that is read-only."""
    folder = os.path.dirname(guest)
    if place.kind in (Kind.BYTES, Kind.SERVICE):
        return f"a file of the host in its place: --rw FILE:{shlex.quote(place.guest)}"
    if place.kind is Kind.HOST and not (place.optional or place.device):
        return f"--rw {_pair(place.source, place.guest)} in place of its --ro; in a policy: writable = true"
    if place.kind is not Kind.SKELETON or folder == "/":
        return f"another place: {PRIVATE} are the guest's own"
    return f"a directory of its own: [[scratch]] target = {json.dumps(folder)}; or --rw DIR:{shlex.quote(folder)}"


def execute(place: Place) -> str:
    if place.kind is Kind.BYTES:
        return f"executable = true in the [[files]] of {place.guest}"
    if place.kind is Kind.SERVICE:
        return "content that is bytes: a function's cannot be executed"
    return f"no noexec = true for {place.guest} in the policy"


def unhide(place: Place, name: str) -> str:
    return f"no {name} in the hide of mount {place.guest} in the policy"


def reach(target: str) -> str:
    """To let a guest reach, or resolve, a target of rules."""
    return f"--allow {shlex.quote(target)}"


def reach_private(name: str) -> str:
    """To let a guest reach a name whose addresses are private, the host's and the like."""
    return f"--allow-private {shlex.quote(name)}"


def request(method: str, url: str) -> str:
    """To let a guest make an HTTP request; without its query, which is not judged."""
    return f"--allow-http {shlex.quote(f'{method} {url.partition(chr(63))[0]}')}"
