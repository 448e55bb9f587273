"""Policy.explain: what a policy says of one call, by the code that decides it for a guest: the compiled plan and the
sentry's lookup in it, and the judge of the network's rules. Nothing is run, opened for the guest, or changed."""

from __future__ import annotations

import os
from collections.abc import Callable

from .. import _view
from .._errors import PolicyError
from .._network import Network
from .._paths import AnyPath
from .._paths import _text as path_text
from .._plan import compile_policy
from .._policy import Policy
from . import attributes, files, http, looks, moves, names, network
from .explanation import BEHIND, Explanation, Said
from .walk import Ends, Walk

_FILES: dict[str, Callable[[Walk, str, str], Said]] = {
    "open": files.open_,
    "create": files.create,
    "stat": files.stat,
    "access": looks.access,
    "readlink": looks.readlink,
    "list": looks.list_,
    "chdir": looks.chdir,
    "exec": files.exec_,
    "mkdir": names.mkdir,
    "mknod": names.mknod,
    "symlink": names.symlink,
    "unlink": names.unlink,
    "rmdir": names.rmdir,
    "link": moves.link,
    "rename": moves.rename,
    "truncate": attributes.truncate,
    "chmod": attributes.chmod,
    "chown": attributes.chown,
    "utime": attributes.utime,
}
_NETWORK: dict[str, Callable[[Network, str], Said]] = {
    "connect": network.connect,
    "http": http.request,
    "listen": network.listen,
    "resolve": network.resolve,
}
CALLS = (*_FILES, *_NETWORK)
MOVES = ("link", "rename")
MODES = ("open", "access")


def explain(
    policy: Policy,
    call: str,
    subject: AnyPath,
    *,
    mode: str = "r",
    to: AnyPath | None = None,
    cwd: AnyPath = _view.WORK,
) -> Explanation:
    """See Policy.explain."""
    text = path_text(subject, f"explain {call}")
    if (to is None) == (call in MOVES):
        raise PolicyError(f"explain {call}: {'the new path is asked for, too' if to is None else 'has no other path'}")
    other = None if to is None else path_text(to, f"explain {call}")
    if call in _FILES:
        said = _of_file(policy, call, text, mode if other is None else other, path_text(cwd, "cwd"))
    elif call in _NETWORK:
        said = _NETWORK[call](policy.network, text)
    else:
        raise PolicyError(f"explain: {call!r} is none of {', '.join(CALLS)}")
    decision, error, rule, reason, behind, remedy = said
    how = mode if call in MODES else ""
    return Explanation(call, text, decision, error, rule, reason, BEHIND[behind], remedy, how, other or "")


def _of_file(policy: Policy, call: str, path: str, detail: str, cwd: str) -> Said:
    """`detail` is a mode or the other path."""
    walk = Walk(compile_policy(policy))
    if call == "exec":
        detail = {**_view.environment(), **policy.env}.get("PATH", "")
    elif call in MOVES:
        detail = os.path.join(cwd, detail)
    searched = call == "exec" and "/" not in path
    try:
        return _FILES[call](walk, path if searched else os.path.join(cwd, path), detail)
    except Ends as ends:
        return ends.said
