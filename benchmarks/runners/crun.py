"""crun: a container from a bundle that is written before the clock runs, without control groups."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .base import Job, Safety
from .commands import FolderRunner, find, program_version, seen

__all__ = ["CRUN"]

# crun refuses to run where both versions of control groups are mounted; in a mount namespace of its own there is one.
_HYBRID = Path("/sys/fs/cgroup/unified")
_ONE_HIERARCHY = ("unshare", "--mount", "sh", "-c", 'umount -l "$0"; exec "$@"', str(_HYBRID))
_DEVICES = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}


def _bind(path: str, *options: str) -> dict[str, Any]:
    return {"destination": path, "type": "none", "source": os.path.realpath(path), "options": ["rbind", *options]}


def _configuration(job: Job) -> dict[str, Any]:
    scratch = [{"destination": path, "type": "tmpfs", "source": "tmpfs"} for path in ("/tmp", "/dev/shm")]
    granted = [*(_bind(path, "ro") for path in seen(job)), _bind(str(job.directory), "rw")]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False,
            "user": {"uid": os.getuid(), "gid": os.getgid()},
            "args": list(job.command),
            "env": [f"{name}={value}" for name, value in job.environment.items()],
            "cwd": str(job.directory),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            *(_DEVICES, *scratch, *granted),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }


def _whole(job: Job, folder: Path) -> list[str]:
    (folder / "rootfs").mkdir()
    (folder / "config.json").write_text(json.dumps(_configuration(job)))
    state = ["--root", str(folder / "state"), "--cgroup-manager=disabled"]
    return [
        *(_ONE_HIERARCHY if _HYBRID.exists() else ()),
        find("crun"),
        *state,
        "run",
        "--bundle",
        str(folder),
        folder.name,
    ]


def _version(program: str) -> str:
    hybrid = ", in a mount namespace with one version of control groups" if _HYBRID.exists() else ""
    return program_version(program) + hybrid


CRUN = FolderRunner(
    "crun",
    "crun",
    lambda _: (),
    Safety(
        "by mounts, once, at the start",
        "by a network namespace, all or none",
        "no",
        "the system's directories to read, the job's to write, all of the host's kernel",
        ("shadow",),
    ),
    says=_version,
    whole=_whole,
)
