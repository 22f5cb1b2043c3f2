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
from gunicorn_backlog.sampling.queue_readers import QueueReader

COSTLY_NS = 1_000_000  # of one read; a list of some hundred sockets takes less
_TRIES = 10


class UnlistedError(QueueError):
    """The list lacks waiting connections: it has only those of clients in this namespace."""

    def __init__(self) -> None:
        super().__init__("connections from another network namespace wait there, which it lacks")


class UnixList(QueueReader):
    """A Unix socket of this process, by its path in ``/proc/net/unix``; without a limit.

    The connection of a client is listed in the client's network namespace. If the socket's file is
    in a volume of several containers, that may be another one. From the first proof that such a
    connection waits, the listener is not read any more.
    """

    name = "/proc/net/unix"

    def __init__(
        self, sock: Any, *, clock_ns: Callable[[], int] = time.monotonic_ns, longest: int = 0
    ) -> None:
        super().__init__(sock)
        self._clock_ns = clock_ns
        self._longest = longest or proc_net.LONGEST
        self._was_costly = False  # a read in this interval
        self._unlisted = False

    def queue(self) -> AcceptQueue | None:
        """Return the queue; None if a costly list was read in this interval."""
        if self._unlisted:
            raise UnlistedError
        if self._was_costly:
            return None
        began_ns = self._clock_ns()
        try:
            return AcceptQueue(self._length(), None)
        except UnlistedError:
            self._unlisted = True
            raise
        finally:
            self._was_costly = self._clock_ns() - began_ns > COSTLY_NS

    def begin_interval(self) -> None:
        """Allow a costly read again."""
        self._was_costly = False

    def _length(self) -> int:
        """Return the length. Raises UnlistedError if it is 0 each time while connections wait.

        A connection may arrive or be accepted between two steps, but not in each of ten tries.
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
