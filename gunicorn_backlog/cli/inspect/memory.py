"""A server's shared memory, opened and mapped to be read only."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import time
from contextlib import suppress

from gunicorn_backlog.cli.errors import LookError
from gunicorn_backlog.scoreboard import server_info
from gunicorn_backlog.scoreboard.layout import SLOTS_AT, LayoutError, decode_header
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.server_info import ServerInfo, ServerInfoError

NAME = "/memfd:gunicorn_backlog"  # as the kernel shows it
_TRIES = 20
_PAUSE_S = 0.005


def _keeps_its_size(fd: int) -> bool:
    """Tell whether it is sealed: who makes a file smaller kills whoever has it mapped."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False


class Memory:
    """The shared memory at a path such as ``/proc/PID/fd/7``."""

    def __init__(self, path: str) -> None:
        """Map it. Raises OSError, and LookError if it is not laid out as it should be."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            self._key = status.st_dev, status.st_ino
            if not stat.S_ISREG(status.st_mode):
                raise LookError(f"{path} is no shared memory")
            header = os.pread(fd, SLOTS_AT, 0)
            self._layout, self.arbiter_pid = decode_header(header, status.st_size)
            if not _keeps_its_size(fd):
                raise LayoutError("it is not sealed, as ours is")
            self._memory = mmap.mmap(fd, status.st_size, prot=mmap.PROT_READ)
        except LayoutError as error:
            raise LookError(f"the shared memory at {path} can't be read: {error}") from None
        finally:
            os.close(fd)
        self.reader = Reader(self._memory, self._layout)

    def about(self) -> ServerInfo:
        """Return what the arbiter says of itself. Raises LookError."""
        for _ in range(_TRIES):
            try:
                return server_info.decode(self._layout.info(self._memory))
            except LayoutError as error:
                reason = str(error)
                time.sleep(_PAUSE_S)  # it is writing
            except ServerInfoError as error:
                raise LookError(f"what the server says of itself can't be read: {error}") from None
        raise LookError(reason)

    def is_at(self, path: str) -> bool:
        """Tell whether it is this memory that a path leads to."""
        with suppress(OSError):
            status = os.stat(path)
            return (status.st_dev, status.st_ino) == self._key
        return False

    def close(self) -> None:
        """Unmap it."""
        self._memory.close()
