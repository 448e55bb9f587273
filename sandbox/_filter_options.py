"""Options of a guest's filter: what it may let pass behind the walls that stand."""

from __future__ import annotations

from collections.abc import Collection

from ._core import Network, Option

RELIED = {Option.EMPTY_ROOT: "mountns", Option.PID_NAMESPACE: "pidns", Option.IPC_NAMESPACE: "ipcns",
          Option.NETWORK_NAMESPACE: "netns"}  # fmt: skip
"""The wall that must stand where a guest's filter has an option."""
_SOCKETS = {
    Network.NONE: Option.PLAIN_LISTEN,
    Network.LOOPBACK: Option.PLAIN_LISTEN | Option.NETWORK | Option.LOOPBACK,
    Network.SERVED: Option.NETWORK,
}


def behind(walls: Collection[str]) -> Option:
    """All that rely on these walls."""
    options = Option(0)
    for option, wall in RELIED.items():
        options |= option if wall in walls else Option(0)
    return options


def for_network(network: Network, options: Option) -> tuple[Network, Option]:
    """The network that can be had with these options, and those for it."""
    if network is Network.LOOPBACK and not options & Option.NETWORK_NAMESPACE:
        network = Network.SERVED  # of the host's loopback a slice is the guest's
    if network is Network.NONE:
        options &= ~Option.NETWORK_NAMESPACE  # it has no use for it
    return network, options | _SOCKETS[network]


def relied_on(options: Option) -> tuple[str, ...]:
    """The walls without which they let too much pass."""
    return tuple(wall for option, wall in RELIED.items() if option in options)
