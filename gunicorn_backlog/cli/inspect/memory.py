"""A server's shared memory, mapped read-only."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import time
from contextlib import suppress

from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.scoreboard import server_info as encoding
from gunicorn_backlog.scoreboard.layout import SLOTS_AT, LayoutError, decode_header
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.server_info import ServerInfo, ServerInfoError

_LINK = "/memfd:gunicorn_backlog"  # of its descriptors in /proc
_TRIES = 20
_PAUSE_S = 0.005


def is_link(link: str) -> bool:
    """Return whether a descriptor's link in ``/proc`` leads to a shared memory of ours."""
    return link.removesuffix(" (deleted)") == _LINK


def _keeps_its_size(fd: int) -> bool:
    """Return whether a file is sealed: one that shrinks would kill each process that maps it."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False


class Memory:
    """The shared memory at a path, for example ``/proc/PID/fd/7``.

    ``arbiter_pid``: in the arbiter's own pid namespace. ``reader``: reads the slots.
    """

    def __init__(self, path: str) -> None:
        """Map the memory. Raises OSError, and InspectError if the layout is not ours."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            self._key = status.st_dev, status.st_ino
            if not stat.S_ISREG(status.st_mode):
                raise InspectError(f"{path} is no shared memory")
            header = os.pread(fd, SLOTS_AT, 0)
            self._layout, self.arbiter_pid = decode_header(header, status.st_size)
            if not _keeps_its_size(fd):
                raise LayoutError("it is not sealed")
            self._memory = mmap.mmap(fd, status.st_size, prot=mmap.PROT_READ)
        except LayoutError as error:
            raise InspectError(f"the shared memory at {path} can't be read: {error}") from None
        finally:
            os.close(fd)
        self.reader = Reader(self._memory, self._layout)

    def server_info(self) -> ServerInfo:
        """Return the server info that the arbiter published. Raises InspectError."""
        for _ in range(_TRIES):
            try:
                return encoding.decode(self._layout.info(self._memory))
            except LayoutError as error:
                reason = str(error)
                time.sleep(_PAUSE_S)  # the arbiter is writing
            except ServerInfoError as error:
                raise InspectError(f"the server info can't be read: {error}") from None
        raise InspectError(reason)

    def is_at(self, path: str) -> bool:
        """Return whether a path leads to this memory."""
        with suppress(OSError):
            status = os.stat(path)
            return (status.st_dev, status.st_ino) == self._key
        return False

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()
