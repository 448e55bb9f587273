"""A terminal for a command: a pseudo terminal pair whose one end is the command's, the other the caller's."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios


class Terminal:
    """The caller's end: what the command writes is read here, what is written here it reads.

    >>> mine, theirs = open_terminal(24, 80)
    >>> mine.size
    (24, 80)
    >>> os.close(theirs); mine.close()
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        if self._fd < 0:
            raise ValueError("I/O operation on closed terminal")
        return self._fd

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def read(self, size: int = 65536) -> bytes:
        """At most `size` bytes, waiting for the first; empty when nobody has the other end open any more."""
        try:
            return os.read(self.fileno(), size)
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise

    def write(self, data: bytes) -> int:
        """Write some of `data`: how many bytes."""
        return os.write(self.fileno(), data)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(self.fileno(), termios.TIOCGWINSZ, b"\0" * 8))
        return rows, columns

    def resize(self, rows: int, columns: int) -> None:
        """Change the size; the foreground processes of the terminal get SIGWINCH."""
        set_size(self.fileno(), rows, columns)

    def close(self) -> None:
        """The command's session gets SIGHUP."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def open_terminal(rows: int, columns: int) -> tuple[Terminal, int]:
    """The caller's end and the command's descriptor, which the caller closes when it is given away."""
    mine, theirs = os.openpty()
    set_size(theirs, rows, columns)
    return Terminal(mine), theirs
