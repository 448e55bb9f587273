"""What a policy says of one call, as a value, and the walls that stand behind each of its decisions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from .._paths import printable

BEHIND: Mapping[str, tuple[tuple[str, str], ...]] = {
    "granted": (),
    "sentry": (),
    "view": (
        ("mountns", "in the sentry's root nothing has a name but the grants"),
        ("landlock", "the sentry may open what is granted only; it may look at names and sizes of the rest"),
    ),
    "hidden": (("mountns", "an empty mount covers it"),),
    "read-only": (
        ("mountns", "the kernel has the mount read-only"),
        ("landlock", "the sentry has no right to write below it; it may change modes, times and owners"),
    ),
    "noexec": (("mountns", "the kernel has the mount noexec and maps nothing of it as a program"),),
    "device": (("mountns", "the kernel has the mount nodev"),),
    "host": (("kernel", "the sentry has no capabilities and no more rights than the user"),),
    "no network": (
        ("netns", "the sentry is where no interface is up"),
        ("filter", "the sentry's own filter has no call that makes a socket"),
    ),
    "loopback": (("netns", "the sentry's network has a loopback and nothing else"),),
    "tcp": (("landlock", "the sentry may neither connect nor bind TCP (Landlock ABI 4)"),),
    "udp": (),
    "http": (("Supervisor", "which hands the connection to the proxy; a sentry has no part in it"),),
    "names": (("Supervisor", "which asks for names itself; a sentry has no part in it"),),
}
"""What would catch it if the sentry were broken, by the kind of decision: the first that stands."""

ALWAYS = ("kernel", "filter", "Supervisor")
"""What needs nothing of the machine."""


class Said(NamedTuple):
    """An explanation without its question. `behind` is a key of BEHIND."""

    decision: str
    error: str | None
    rule: str
    reason: str
    behind: str = "granted"
    remedy: str = ""


@dataclass(frozen=True)
class Explanation:
    """What happens if a guest makes a call, and what decides it.

    `decision` is "allowed"; "refused" by the policy; "fails" where the policy allows it and the host, as it is now,
    does not; or "depends" on what the guest has done, as in /proc. `error` is the name of the errno that the guest
    gets, of the EAI_ code for a name, or the status of an HTTP response. `rule` is the mount or rule that decides,
    `reason` says why, `remedy` what would allow it. `walls` are names and texts of what would catch it if the sentry
    were broken, the first first; the names are those of `Policy.require`, or kernel, filter and Supervisor, which
    always stand. `mode` is that of open and access, `to` the new path of link and rename.

    Texts may hold anything that a path may; str(explanation) is safe on a terminal.

    >>> print(Explanation("open", "/data/x", "allowed", None, "mount /data: /srv, read-only", "its files may be read"))
    open /data/x: allowed
      decided by: mount /data: /srv, read-only
      why:        its files may be read
    """

    call: str
    subject: str
    decision: str
    error: str | None
    rule: str
    reason: str
    walls: tuple[tuple[str, str], ...] = ()
    remedy: str = ""
    mode: str = ""
    to: str = ""

    @property
    def allowed(self) -> bool:
        return self.decision == "allowed"

    def to_json(self) -> str:
        """One line of JSON: an object with the fields' names; `walls` is an object in itself."""
        return json.dumps({**asdict(self), "walls": dict(self.walls)})

    def text(self, standing: Collection[str] | None = None) -> str:
        """Printable lines; with the names of the walls that stand here, which of them would catch it."""
        what = " ".join(filter(None, [self.call, self.subject, self.to, self.mode]))
        lines = [f"{what}: {self.decision}{f' {self.error}' if self.error else ''}"]
        lines += [f"  decided by: {self.rule}", f"  why:        {self.reason}"]
        lines += [f"  to allow:   {self.remedy}"] if self.remedy else []
        lines += [f"  behind it:  {self._behind(standing)}"] if self.decision == "refused" else []
        return "\n".join(map(printable, lines))

    def __str__(self) -> str:
        return self.text()

    def _behind(self, standing: Collection[str] | None) -> str:
        stands = [f"{name}: {text}" for name, text in self.walls if standing is None or name in {*standing, *ALWAYS}]
        if standing is None:
            return "; else ".join(stands) or "nothing: only the sentry refuses it"
        return stands[0] if stands else "nothing here: only the sentry refuses it"
