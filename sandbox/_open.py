"""From the shorthands of run, Popen and Sandbox to a guest."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from ._audit import AuditTarget
from ._errors import PolicyError
from ._guest import Guest
from ._network import Network
from ._paths import AnyPath
from ._policy import Content, Limits, Policy
from ._supervisor import start_guest

PolicyLike = Union[Policy, str, bytes, "os.PathLike[str]", None]


@dataclass(frozen=True)
class Opened:
    guest: Guest
    policy: Policy


def policy_of(
    mounts: Mapping[Any, AnyPath] | None,
    writable: Mapping[Any, AnyPath] | None,
    files: Mapping[Any, Content] | None,
    policy: PolicyLike,
    limits: Limits | None,
    network: Network | None,
) -> Policy:
    """The policy, a TOML file's or the default, with the shorthands laid over it."""
    if policy is None:
        policy = Policy()
    elif isinstance(policy, (str, bytes, os.PathLike)):
        policy = Policy.load(policy)
    elif not isinstance(policy, Policy):
        raise PolicyError(f"policy: {policy!r} is neither a Policy nor the path of one")
    return policy.extend(mounts=mounts, writable=writable, files=files, limits=limits, network=network)


def open_guest(
    mounts: Mapping[Any, AnyPath] | None = None,
    writable: Mapping[Any, AnyPath] | None = None,
    files: Mapping[Any, Content] | None = None,
    policy: PolicyLike = None,
    limits: Limits | None = None,
    audit: AuditTarget | None = None,
    network: Network | None = None,
    trace: bool = False,
) -> Opened:
    """A new guest, on its way."""
    chosen = policy_of(mounts, writable, files, policy, limits, network)
    return Opened(start_guest(chosen, audit, trace=trace), chosen)


_BARE = (
    "the caller is root and neither a mount namespace nor Landlock stands: a broken sentry would open what root owns; "
    "see python -m sandbox doctor"
)


def bare(guest: Guest) -> str:
    """For a root caller a broken sentry is held by namespaces or Landlock only: what to say where neither stands."""
    stands = os.geteuid() != 0 or guest.ready is None or {"mountns", "landlock"} & set(guest.walls)
    return "" if stands else _BARE


def warn_if_bare(guest: Guest) -> None:
    text = bare(guest)
    if text:
        warnings.warn(f"sandbox: {text}", RuntimeWarning, stacklevel=4)
