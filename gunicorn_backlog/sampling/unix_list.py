"""The accept queue of a Unix socket from ``/proc/net/unix``, where netlink is refused."""

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

COSTLY_NS = 1_000_000  # a read of some hundred sockets takes less
_TRIES = 10  # reads in a row, one per call: a fork waits at most 40 ms for a call to end
_UNLISTED = "connections from another network namespace are not listed"


class UnixList(QueueReader):
    """A Unix socket of this process, by its path in ``/proc/net/unix``; without a limit.

    The kernel lists a connection in the network namespace of its client. If several containers
    share the socket's file, the client may be in another namespace. After _TRIES reads in a row
    that lack a waiting connection, the listener is not read any more.
    """

    name = "/proc/net/unix"

    def __init__(self, sock: Any, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(sock)
        self._clock_ns = clock_ns
        self._was_costly = False  # a read in this interval
        self._doubtful_reads = 0  # in a row: the length is 0 and a connection waits

    def queue(self) -> AcceptQueue | None:
        """Return the queue; None if doubtful, or after a costly read in this interval."""
        if self._doubtful_reads >= _TRIES:
            raise QueueError(_UNLISTED)
        if self._was_costly:
            return None
        began_ns = self._clock_ns()
        try:
            length = self._length()
            return None if length is None else AcceptQueue(length, None)
        finally:
            self._was_costly = self._clock_ns() - began_ns > COSTLY_NS

    def begin_interval(self) -> None:
        """Allow a costly read again."""
        self._was_costly = False

    def _length(self) -> int | None:
        """Return the length, from one read; None if the length is 0 while a connection waits.

        A connection may arrive or be accepted between two steps, but not in each of _TRIES reads in
        a row: the last one raises QueueError.
        """
        fd = self._sock.fileno()
        inode = os.fstat(fd).st_ino
        before = _is_readable(fd)
        length = proc_net.unix_length(inode)
        if length or not before or not _is_readable(fd):
            self._doubtful_reads = 0
            return length
        self._doubtful_reads += 1
        if self._doubtful_reads >= _TRIES:
            raise QueueError(_UNLISTED)
        return None


def _is_readable(fd: int) -> bool:
    """Return whether a connection waits at a listening socket."""
    poll = original("select", "poll")()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
