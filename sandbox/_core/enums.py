"""The enums of csrc/core.h that Python speaks of."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from .binding import lib


class Route(IntEnum):
    REFUSED = lib.SBX_REFUSED
    NATIVE = lib.SBX_NATIVE
    SERVED = lib.SBX_SERVED


class Option(IntFlag):
    EMPTY_ROOT = lib.SBX_OPTION_EMPTY_ROOT
    PID_NAMESPACE = lib.SBX_OPTION_PID_NAMESPACE
    IPC_NAMESPACE = lib.SBX_OPTION_IPC_NAMESPACE
    LOOPBACK = lib.SBX_OPTION_LOOPBACK


class Network(IntEnum):
    NONE = lib.SBX_NETWORK_NONE
    LOOPBACK = lib.SBX_NETWORK_LOOPBACK


class MountKind(IntEnum):
    NONE = lib.SBX_MOUNT_NONE
    SKELETON = lib.SBX_MOUNT_SKELETON
    HOST = lib.SBX_MOUNT_HOST
    SCRATCH = lib.SBX_MOUNT_SCRATCH
    BYTES = lib.SBX_MOUNT_BYTES
    SERVICE = lib.SBX_MOUNT_SERVICE
    LINK = lib.SBX_MOUNT_LINK
    PROC = lib.SBX_MOUNT_PROC
    PTS = lib.SBX_MOUNT_PTS
    TTY = lib.SBX_MOUNT_TTY


class MountFlag(IntFlag):
    WRITABLE = lib.SBX_MOUNT_WRITABLE
    EXEC = lib.SBX_MOUNT_EXEC
    DEVICE = lib.SBX_MOUNT_DEVICE
    STICKY = lib.SBX_MOUNT_STICKY
    COPY = lib.SBX_MOUNT_COPY


class Wall(IntEnum):
    NONE = lib.SBX_WALL_NONE
    LANDLOCK = lib.SBX_WALL_LANDLOCK
    LANDLOCK_SCOPE = lib.SBX_WALL_LANDLOCK_SCOPE
    USERNS = lib.SBX_WALL_USERNS
    PIDNS = lib.SBX_WALL_PIDNS
    NETNS = lib.SBX_WALL_NETNS
    IPCNS = lib.SBX_WALL_IPCNS
    UTSNS = lib.SBX_WALL_UTSNS
    MOUNTNS = lib.SBX_WALL_MOUNTNS
    CGROUP = lib.SBX_WALL_CGROUP


class MessageType(IntEnum):
    NONE = lib.SBX_MSG_NONE
    SETUP = lib.SBX_MSG_SETUP
    FILES = lib.SBX_MSG_FILES
    RUN = lib.SBX_MSG_RUN
    FDS = lib.SBX_MSG_FDS
    SIGNAL = lib.SBX_MSG_SIGNAL
    END = lib.SBX_MSG_END
    FETCH = lib.SBX_MSG_FETCH
    REPLY = lib.SBX_MSG_REPLY
    READY = lib.SBX_MSG_READY
    FAULT = lib.SBX_MSG_FAULT
    STARTED = lib.SBX_MSG_STARTED
    EXITED = lib.SBX_MSG_EXITED
    FAILED = lib.SBX_MSG_FAILED
    SERVE = lib.SBX_MSG_SERVE
    FETCHED = lib.SBX_MSG_FETCHED
    DRAIN = lib.SBX_MSG_DRAIN


class Serve(IntEnum):
    NONE = lib.SBX_SERVE_NONE
    FILE = lib.SBX_SERVE_FILE
    PROC = lib.SBX_SERVE_PROC


class Fetch(IntEnum):
    NONE = lib.SBX_FETCH_NONE
    READ = lib.SBX_FETCH_READ
    WRITE = lib.SBX_FETCH_WRITE
    LIST = lib.SBX_FETCH_LIST


class Exceeded(IntEnum):
    NONE = lib.SBX_EXCEEDED_NONE
    MEMORY = lib.SBX_EXCEEDED_MEMORY
    PROCESSES = lib.SBX_EXCEEDED_PROCESSES
    CPU = lib.SBX_EXCEEDED_CPU
    SCRATCH = lib.SBX_EXCEEDED_SCRATCH
    FILE_SIZE = lib.SBX_EXCEEDED_FILE_SIZE


class CommandFlag(IntFlag):
    TERMINAL = lib.SBX_COMMAND_TERMINAL
    NEW_SESSION = lib.SBX_COMMAND_NEW_SESSION
    SEARCH = lib.SBX_COMMAND_SEARCH


class Verdict(IntEnum):
    NONE = lib.SBX_VERDICT_NONE
    DENIED = lib.SBX_VERDICT_DENIED
    FAILED = lib.SBX_VERDICT_FAILED
    DONE = lib.SBX_VERDICT_DONE
