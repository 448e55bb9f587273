"""What decides of a path or of the network, as text: what `explain` calls a rule, and an audit trail."""

from __future__ import annotations

from ._network import Network, is_served
from ._view import Kind, Place


def describe(place: Place) -> str:
    """The text of a mount."""
    what = f"mount {place.guest}: {place.source}" if place.kind is Kind.HOST else f"{place.guest}: {_KINDS[place.kind]}"
    if place.kind not in (Kind.HOST, Kind.SCRATCH):
        return what
    words = ["writable" if place.writable else "read-only", *([] if place.executable else ["noexec"])]
    words += [f"hides {' '.join(place.hide)}"] if place.hide else []
    words += ["of the default view"] if place.optional or place.device else []
    return ", ".join([what, *words])


_KINDS = {
    Kind.SKELETON: "the view's own directories, read-only",
    Kind.SCRATCH: "private scratch",
    Kind.BYTES: "a file of fixed bytes, read-only",
    Kind.SERVICE: "a file made by a function at each open, read-only",
    Kind.LINK: "a link of the view",
    Kind.PROC: "the guest's own /proc",
    Kind.PTS: "the guest's own terminals",
    Kind.TTY: "the guest's own terminal",
}


def describe_network(network: Network) -> str:
    """What decides where no rule does; empty where one always does."""
    return "" if is_served(network) else f'network = "{network}"'
