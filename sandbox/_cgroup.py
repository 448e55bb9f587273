"""Limits of a whole guest by the kernel's own account: one cgroup for each guest, where a hierarchy can be written.

Two backends stand behind Cgroup: version 2 (one directory) and version 1 (one in `memory`, one in `pids`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from . import _core

_ROOT = "/sys/fs/cgroup"


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0


@dataclass(frozen=True)
class Cgroup:
    """Directories of one guest by controller. Version 2 has one directory for all."""

    version: int
    folders: dict[str, str]

    @property
    def path(self) -> str:
        """The directory that the plan names."""
        return self.folders.get("memory") or next(iter(self.folders.values()))

    def add(self, pid: int) -> None:
        for folder in set(self.folders.values()):
            _write(folder + "/cgroup.procs", str(pid))

    def ran_out(self) -> bool:
        """Has the kernel killed a process of the guest for want of memory?"""
        folder = self.folders.get("memory")
        if folder is None:
            return False
        if self.version == 2:
            return _field(_read(folder + "/memory.events"), "oom_kill") > 0
        return _field(_read(folder + "/memory.oom_control"), "oom_kill") > 0

    def peak(self) -> int:
        folder = self.folders.get("memory", "")
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        text = _read(f"{folder}/{name}").strip() if folder else ""
        return int(text) if text.isdigit() else 0

    def kill(self) -> None:
        """Kill what is in it, where the kernel can in one act."""
        if self.version == 2:
            with suppress(OSError):
                _write(self.path + "/cgroup.kill", "1")

    def remove(self) -> bool:
        """True when nothing of it is left; False while processes still leave."""
        gone = True
        for folder in set(self.folders.values()):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
        return gone


def _own() -> dict[str, str]:
    """This process's place in each hierarchy: by controller, version 2 as the empty name."""
    places: dict[str, str] = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            places[name] = path
    return places


def _parents(top: str, path: str) -> Iterator[str]:
    """Directories that may hold a guest's: our own, then its parents up to the top."""
    while True:
        folder = top + path.rstrip("/")
        if os.path.isdir(folder):
            yield folder
        if path in ("", "/"):
            return
        path = os.path.dirname(path)


def _made(parent: str, tag: int, values: dict[str, str]) -> str | None:
    folder = f"{parent}/sandbox-{tag >> 32:08x}"
    try:
        os.mkdir(folder)
    except OSError:
        return None
    try:
        for name, value in values.items():
            _write(f"{folder}/{name}", value)
    except OSError:
        os.rmdir(folder)
        return None
    return folder


def _version_2(tag: int, limits: _core.Limits) -> Cgroup | None:
    top = _ROOT if os.path.exists(_ROOT + "/cgroup.controllers") else _ROOT + "/unified"
    wanted = {"memory": ("memory.max", limits.memory), "pids": ("pids.max", limits.processes)}
    for parent in _parents(top, _own().get("", "/")):
        enabled = _read(parent + "/cgroup.subtree_control").split()
        if "memory" not in enabled or "pids" not in enabled:
            continue
        values = {name: str(value) for name, value in wanted.values() if value}
        if limits.memory and os.path.exists(parent + "/memory.swap.max"):
            values["memory.swap.max"] = "0"
        folder = _made(parent, tag, values)
        if folder:
            return Cgroup(2, {"memory": folder, "pids": folder})
    return None


def _version_1(tag: int, limits: _core.Limits) -> Cgroup | None:
    own = _own()
    values: dict[str, dict[str, str]] = {"memory": {}, "pids": {}}
    if limits.memory:
        values["memory"]["memory.limit_in_bytes"] = str(limits.memory)
        values["memory"]["memory.swappiness"] = "0"
    if limits.processes:
        values["pids"]["pids.max"] = str(limits.processes)
    made: dict[str, str] = {}
    for name, text in values.items():
        parents = _parents(f"{_ROOT}/{name}", own.get(name, "/")) if name in own else iter(())
        folder = next((found for parent in parents if (found := _made(parent, tag, text))), None)
        if folder:
            made[name] = folder
    missing = {"memory": limits.memory, "pids": limits.processes}
    if not made or any(value and name not in made for name, value in missing.items()):
        Cgroup(1, made).remove() if made else None
        return None
    return Cgroup(1, made)


def create(tag: int, limits: _core.Limits) -> Cgroup | None:
    """A new cgroup that holds the memory and process limits, or None where none can be had."""
    return _version_2(tag, limits) or _version_1(tag, limits)
