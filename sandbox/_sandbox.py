"""Sandbox: one guest for several commands, and its files."""

from __future__ import annotations

import errno
import os
import posixpath
import weakref
from collections.abc import Mapping
from typing import Any

from . import _core, _trust, _view
from ._async import AsyncForms
from ._audit import AuditSummary, AuditTarget
from ._audit.event import Filter
from ._events import Events
from ._export import check_name, export, regular
from ._live_network import LiveNetwork
from ._network import Network
from ._open import PolicyLike, open_guest, warn_if_bare
from ._paths import PATH_MAX, AnyPath
from ._plan import compile_policy
from ._policy import Content, Limits
from ._popen import Popen
from ._result import Result
from ._run import UNSET, run_with


class Sandbox(AsyncForms):
    """A guest that stays: its commands, one after another or at once, share its files, limits and policy. Everything of
    it is gone at `close` or at the end of the `with` block.

    `mounts` (read-only), `writable` and `files` have the guest path first; `policy` is a Policy or the path of a TOML
    file; `limits` count for the whole guest; `audit` is a file, or the path of one, that records are appended to;
    `network` is that of Policy. `trace=True` keeps calls for `events`, its own and those of its commands.
    WallMissing, PolicyError: it cannot be made.

    >>> with Sandbox(files={"/work/in.txt": b"one\\ntwo\\n"}) as box:
    ...     _ = box.run("wc -l < in.txt > out.txt", shell=True, check=True)
    ...     box.read("/work/out.txt"), box.list("/work")
    (b'2\\n', ['in.txt', 'out.txt'])
    """

    def __init__(
        self,
        *,
        mounts: Mapping[Any, AnyPath] | None = None,
        writable: Mapping[Any, AnyPath] | None = None,
        files: Mapping[Any, Content] | None = None,
        policy: PolicyLike = None,
        limits: Limits | None = None,
        audit: AuditTarget | None = None,
        network: Network | None = None,
        trace: bool = False,
    ) -> None:
        opened = open_guest(mounts, writable, files, policy, limits, audit, network, trace)
        self._trace = trace
        self.policy = opened.policy
        self._guest = opened.guest
        self._finalizer = weakref.finalize(self, self._guest.end)
        try:
            self._guest.wait_ready()
        except BaseException:
            self._guest.kill()
            self._guest.wait_ended()
            raise
        warn_if_bare(self._guest)

    # ---- commands -------------------------------------------------------------------------------------------------

    def popen(self, args: Any, **options: Any) -> Popen:
        """Start a command: a Popen with the parameters of Popen, but for those that make a sandbox."""
        env = _trust.environment(self.policy)
        of_box: dict[str, Any] = {"trace": self._trace, "_guest": self._guest, "_policy_env": env}
        return Popen(args, **_own(options), **of_box)

    def run(
        self,
        args: Any,
        *,
        input: Any = None,  # noqa: A002
        capture_output: bool = True,
        timeout: float | None = None,
        check: bool = False,
        stdin: Any = None,
        stdout: Any = UNSET,
        stderr: Any = UNSET,
        **options: Any,
    ) -> Result:
        """`sandbox.run` in this sandbox. A command that is timed out is killed with its process group."""
        chosen = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "capture_output": capture_output}
        return run_with(self.popen, args, data=input, timeout=timeout, check=check, **chosen, **options)

    # ---- files ----------------------------------------------------------------------------------------------------

    def read(self, path: AnyPath, *, max_bytes: int = 1 << 30) -> bytes:
        """The content of a regular file, as the guest would find it; a relative path counts from /work. OSError as
        `open` raises, and EFBIG for more than `max_bytes`: a guest can make a file of any size."""
        name = _guest_bytes(path)
        fd = self._guest.fetch(_core.Fetch.READ, name)
        with open(fd, "rb", buffering=0) as file:
            regular(fd, name)
            parts, left = [], max_bytes
            while left >= 0 and (data := file.read(min(left + 1, 1 << 20))):
                parts.append(data)
                left -= len(data)
        if left < 0:
            raise OSError(errno.EFBIG, f"more than {max_bytes} bytes", os.fsdecode(name))
        return b"".join(parts)

    def write(self, path: AnyPath, data: bytes) -> None:
        """Create or replace the content of a regular file where the guest may write; missing directories are made."""
        name = _guest_bytes(path)
        fd = self._guest.fetch(_core.Fetch.WRITE, name)
        with open(fd, "wb", buffering=0) as file:
            regular(fd, name)
            view = memoryview(data).cast("B")
            while view:
                view = view[file.write(view) or 0 :]

    def list(self, path: AnyPath = _view.WORK) -> list[str]:
        """The names in a directory, sorted, as the guest sees them."""
        name = _guest_bytes(path)
        fd = self._guest.fetch(_core.Fetch.LIST, name)
        try:
            names = {check_name(found) for found in os.listdir(fd)}
        finally:
            os.close(fd)
        added, hidden = _view.children(self._places(), os.fsdecode(name))
        return sorted((names | added) - hidden)

    def export(self, path: AnyPath, host_dir: AnyPath) -> None:
        """Copy a directory's content into `host_dir`, or a file to that name in it: files, directories and links, the
        latter as links. What is there under a name is replaced; nothing outside `host_dir` is touched."""
        export(self._guest.fetch, _guest_bytes(path), os.fsdecode(host_dir))

    def _places(self) -> tuple[_view.Place, ...]:
        if not hasattr(self, "_cached_places"):
            self._cached_places = compile_policy(self.policy).places
        return self._cached_places

    # ---- life -----------------------------------------------------------------------------------------------------

    @property
    def walls(self) -> tuple[str, ...]:
        """The walls that stand around the guest."""
        return self._guest.walls

    @property
    def network(self) -> LiveNetwork:
        """Its rules, which can be changed while it runs: `box.network.allow("api.example.com:443")`."""
        return LiveNetwork(self._guest)

    @property
    def audit(self) -> AuditSummary:
        """Served calls of the guest so far."""
        return self._guest.summary()

    def events(
        self, *, call: str | None = None, path: str | None = None, verdict: str | None = None, pid: int | None = None
    ) -> Events:
        """The guest's served calls from now on, as they come; ends with the guest. Needs `trace=True` or `audit=`; as
        Popen.events otherwise.

        >>> with Sandbox(trace=True) as box:
        ...     denied = box.events(verdict="denied")
        ...     _ = box.run("> /usr/new", shell=True)
        ...     next(denied).paths
        ('/usr/new',)
        """
        return Events(self._guest.listen(taken=True), Filter(pid, call, path, verdict), self._guest.raise_failure, self)

    @property
    def exceeded(self) -> str | None:
        """The limit that ended the guest, or None."""
        return self._guest.exceeded

    def close(self) -> None:
        """End the guest and wait until nothing of it is left. Its commands are killed."""
        self._guest.end()
        self._guest.wait_ended()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Sandbox: {'ended' if self._guest.ended else 'runs'}>"


_OF_SANDBOX = ("mounts", "writable", "files", "policy", "limits", "audit", "network", "trace")


def _own(options: dict[str, Any]) -> dict[str, Any]:
    for name in _OF_SANDBOX:
        if name in options:
            raise TypeError(f"{name} belongs to the Sandbox, not to a command in it")
    return options


def _guest_bytes(path: AnyPath) -> bytes:
    name = os.fsencode(path)
    if not name or b"\0" in name:
        raise ValueError(f"guest path {path!r}: empty, or holds a NUL byte")
    name = posixpath.join(_view.WORK.encode(), name)
    if len(name) >= PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(path))
    return name
