"""The accept queue of a Unix socket from ``/proc/net/unix``, for where netlink is refused."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

from gunicorn_backlog._threads.unpatched import original
from gunicorn_backlog.kernel import proc_net
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.sampling.drops import Drops

COSTLY_NS = 1_000_000  # of one read; a list of some hundred sockets takes less
_TRIES = 10


class UnlistedError(QueueError):
    """Connections wait that the list lacks; it has those of this network namespace's clients."""

    def __init__(self) -> None:
        super().__init__("connections from another network namespace wait there, which it lacks")


class UnixList:
    """A Unix socket that this process holds, by its path in ``/proc/net/unix``; without a limit.

    A client in another network namespace, as with a socket in a volume of several containers, is
    listed there. Once such a connection was proved to wait, the listener is not read any more.
    """

    name = "/proc/net/unix"

    def __init__(
        self, sock: Any, *, clock_ns: Callable[[], int] = time.monotonic_ns, longest: int = 0
    ) -> None:
        self.drops = Drops()
        self._sock = sock
        self._clock_ns = clock_ns
        self._longest = longest or proc_net.LONGEST
        self._read = False  # in this interval, and it was costly
        self._unlisted = False

    def queue(self) -> AcceptQueue | None:
        """Read the list; None if a costly one was read in this interval."""
        if self._unlisted:
            raise UnlistedError
        if self._read:
            return None
        began_ns = self._clock_ns()
        try:
            return AcceptQueue(self._length(), None)
        except UnlistedError:
            self._unlisted = True
            raise
        finally:
            self._read = self._clock_ns() - began_ns > COSTLY_NS

    def note_drops(self) -> None:
        """Do nothing: the clients of a Unix socket get EAGAIN, and the kernel counts none."""

    def begin_interval(self) -> None:
        """Let a costly list be read again."""
        self._read = False

    def _length(self) -> int:
        """Return the length; raise UnlistedError if it is 0 each time while connections wait.

        A connection may come or be accepted between two steps, but not at each of so many.
        """
        fd = self._sock.fileno()
        inode = os.fstat(fd).st_ino
        for _ in range(_TRIES):
            before = _is_readable(fd)
            length = proc_net.unix_length(inode, longest=self._longest)
            if length or not before or not _is_readable(fd):
                return length
        raise UnlistedError


def _is_readable(fd: int) -> bool:
    """Return whether a connection waits at a listening socket."""
    poll = original("select", "poll")()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
