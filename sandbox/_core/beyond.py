"""A message where more descriptors are in flight than the soft limit of this process allows."""

from __future__ import annotations

import os
import socket

from .binding import ffi, lib
from .messages import Message


def send_beyond(sock: socket.socket, message: Message) -> None:
    """Like `send`, with descriptors, which are counted against the hard limit; it costs a process. OSError
    ETOOMANYREFS: there are more than that in flight, too."""
    head = ffi.new(
        "struct sbx_message *",
        (message.type, len(message.text), message.number, message.value, message.value2),
    )
    fds = list(message.fds)
    error = lib.sbx_send_beyond(sock.fileno(), head, ffi.from_buffer(message.text), fds, len(fds))
    if error:
        raise OSError(-error, os.strerror(-error))
