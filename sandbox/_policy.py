"""What a guest may see and use: values that cannot exist invalid.

>>> policy = Policy(mounts=[Mount("/data", "/usr/share")], limits=Limits(memory=256 << 20))
>>> policy.mounts[0].target, policy.mounts[0].writable
('/data', False)
>>> Policy.loads(policy.to_toml()) == policy
True
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

from . import _policy_file
from ._errors import PolicyError
from ._explain.explanation import Explanation
from ._grants import Content, File, Limits, Mount, Scratch, set_fields
from ._messages import WALLS
from ._network import Network, clean_network
from ._paths import AnyPath

__all__ = ["Content", "File", "Limits", "Mount", "Policy", "Scratch", "clean_env"]


@dataclass(frozen=True)
class Policy:
    """The whole of what a guest gets. `Policy()` is the default view: the system's and the running interpreter's
    programs read-only, private /work, /tmp and /home/user, no network, a clean environment.

    `mounts`, `scratch` and `files` extend the view (same guest path twice: PolicyError); `env` is laid over the clean
    environment; `require` names walls without which nothing runs: landlock, landlock-scope, userns, pidns, netns,
    ipcns, utsns, mountns, cgroup.

    `network` is "none", "loopback" (the guest's own, which nobody else reaches), "host" (that, every outward address
    and the host's loopback, but for link-local and cloud metadata), or a list of Allow, Deny, AllowHTTP, Header,
    Publish, Hosts and Resolvers, with "host" among them where they take from it.

    >>> Policy(require=["landlock"]).require
    ('landlock',)
    """

    mounts: tuple[Mount, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    files: tuple[File, ...] = ()
    limits: Limits = Limits()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    require: tuple[str, ...] = ()
    network: Network = "none"

    def __post_init__(self) -> None:
        mounts = _all(Mount, "mounts", self.mounts)
        scratch = _all(Scratch, "scratch", self.scratch)
        files = _all(File, "files", self.files)
        seen: set[str] = set()
        for target in [entry.target for entry in (*mounts, *scratch, *files)]:
            if target in seen:
                raise PolicyError(f"{target}: this guest path is given twice")
            seen.add(target)
        if not isinstance(self.limits, Limits):
            raise PolicyError(f"limits: {self.limits!r} is no Limits")
        require = tuple(_wall(name) for name in _listed("require", self.require))
        env = MappingProxyType(clean_env(self.env, "env"))
        set_fields(self, mounts=mounts, scratch=scratch, files=files, env=env, require=require)
        set_fields(self, network=clean_network(self.network))

    def __reduce__(self) -> tuple[type[Policy], tuple[Any, ...]]:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Policy, tuple({**values, "env": dict(self.env)}.values())

    def extend(
        self,
        *,
        mounts: Mapping[Any, AnyPath] | None = None,
        writable: Mapping[Any, AnyPath] | None = None,
        files: Mapping[Any, Content] | None = None,
        limits: Limits | None = None,
        network: Network | None = None,
    ) -> Policy:
        """This policy with the shorthands of `run` laid over it, guest path first; `limits` where they say more,
        `network` where this policy has none."""
        more = [Mount(target, source) for target, source in _items("mounts", mounts)]
        more += [Mount(target, source, writable=True) for target, source in _items("writable", writable)]
        made = [File(target, content) for target, content in _items("files", files)]
        if limits is not None and not isinstance(limits, Limits):
            raise PolicyError(f"limits: {limits!r} is no Limits")
        if network is not None and self.network != "none":
            raise PolicyError("network: is given twice, in the policy and beside it")
        return replace(
            self,
            mounts=(*self.mounts, *more),
            files=(*self.files, *made),
            limits=limits.over(self.limits) if limits else self.limits,
            network=self.network if network is None else network,
        )

    def explain(
        self, call: str, subject: AnyPath, *, mode: str = "r", to: AnyPath | None = None, cwd: AnyPath = "/work"
    ) -> Explanation:
        """What happens if a guest of this policy makes a call, what decides it and why. Nothing is run or opened.

        `call` and `subject`: a guest path, where a relative one starts at `cwd`, for open (with a `mode` as Python's),
        create, stat, access (`mode` is some of r, w, x), readlink, list, chdir, exec (which searches PATH for a name),
        mkdir, mknod, symlink (the link's path), unlink, rmdir, link and rename (`to` is the new path), truncate, chmod,
        chown (to whom it is) and utime (to now); HOST:PORT or udp://HOST:PORT for connect, [ADDRESS:]PORT for listen, a
        name for resolve, "GET https://HOST/PATH" for http. It tells of a guest that has made no file yet, and of the
        host as it is now.

        PolicyError: there is no such call, the subject is none of its kind, or a mount's source is missing.

        >>> said = Policy(mounts=[Mount("/data", "/usr/share")]).explain("open", "/data/x", mode="w")
        >>> said.decision, said.error, said.rule
        ('refused', 'EROFS', 'mount /data: /usr/share, read-only')
        >>> Policy().explain("connect", "api.example.com:443").remedy
        '--allow api.example.com:443'
        """
        # Later than this module: what explains stands on the plan, and that on this.
        explain = import_module("sandbox._explain.explain").explain
        explanation: Explanation = explain(self, call, subject, mode=mode, to=to, cwd=cwd)
        return explanation

    @classmethod
    def load(cls, path: AnyPath) -> Policy:
        """The policy of a TOML file: tables [[mounts]], [[scratch]], [[files]], [limits], [env], the list `require`;
        keys are the names of the Python arguments. Relative sources count from the file's directory. `network` is a
        word, or tables [[network]] with one of the keys `allow` (and `private`), `deny`, `allow_http` (a pattern, with
        `methods`, `private` and `ca`), `header` (with `value_env`, `hosts` and `plain`), `publish` (the guest's port,
        with `host` and `sources`), `hosts` or `resolvers`."""
        name = os.fsdecode(path)
        try:
            with open(name, "rb") as file:
                data = file.read()
        except OSError as error:
            raise PolicyError(f"policy {name}: {error.strerror}") from error
        return cls.loads(data, name=name)

    @classmethod
    def loads(cls, text: str | bytes, *, name: str = "policy") -> Policy:
        """The policy of TOML text; `name` stands for the file in errors and its directory for relative sources."""
        parts = _policy_file.parse(text, name)
        try:
            return cls(**parts)
        except PolicyError as error:
            raise PolicyError(f"{name}: {error}") from None

    def to_toml(self) -> str:
        """TOML that `load` reads as an equal policy. A File made by a function has none: PolicyError."""
        return _policy_file.text({entry.name: getattr(self, entry.name) for entry in fields(self)})


def clean_env(env: Mapping[Any, Any], what: str) -> dict[str, str]:
    """An environment as text, checked."""
    if not isinstance(env, Mapping):
        raise PolicyError(f"{what}: {env!r} is no mapping")
    try:
        checked = {os.fsdecode(key): os.fsdecode(value) for key, value in env.items()}
    except TypeError as error:
        raise PolicyError(f"{what}: names and values are text: {error}") from None
    for key, value in checked.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            raise PolicyError(f"{what}: {key!r}: a name is not empty and holds no =, nothing holds a NUL byte")
    return checked


def _listed(what: str, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise PolicyError(f"{what}: {values!r} is no list")
    return list(values)


def _all(kind: type[Any], what: str, values: Any) -> tuple[Any, ...]:
    for value in (listed := _listed(what, values)):
        if not isinstance(value, kind):
            raise PolicyError(f"{what}: {value!r} is no {kind.__name__}")
    return tuple(listed)


def _items(what: str, mapping: Any) -> list[tuple[Any, Any]]:
    if mapping is None:
        return []
    if not isinstance(mapping, Mapping):
        raise PolicyError(f"{what}: {mapping!r} is no mapping from guest path")
    return list(mapping.items())


def _wall(name: Any) -> str:
    if name not in WALLS:
        raise PolicyError(f"require: {name!r} is no wall; the walls are {', '.join(WALLS)}")
    return str(name)
