"""What the kernel says of one listening socket."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class QueueError(Exception):
    """What the kernel answered is not, or not wholly, what was asked for."""


class ElsewhereError(QueueError):
    """The socket belongs to another network namespace than the one that was read."""

    def __init__(self) -> None:
        super().__init__("its socket belongs to another network namespace")


class AcceptQueue(NamedTuple):
    """A listener's accept queue: ``length`` and ``limit``, both in connections.

    A ``limit`` of None could not be read.

    The queue holds ``limit + 1`` connections before the kernel takes no more, so ``length`` can be
    greater than ``limit``. Where several sockets listen at one address, as with ``reuse_port``,
    both are sums; then ``max_length`` is the greatest length, and ``min_limit`` the lowest limit of
    one.
    """

    length: int
    limit: int | None
    max_length: int | None = None
    min_limit: int | None = None


def merge(queues: Sequence[AcceptQueue]) -> AcceptQueue:
    """Sum up the queues of one address; there must be one."""
    limits = [queue.limit for queue in queues if queue.limit is not None]
    lowest = [queue.min_limit for queue in queues if queue.min_limit is not None]
    all_read = len(limits) == len(queues)
    return AcceptQueue(
        length=sum(queue.length for queue in queues),
        limit=sum(limits) if all_read else None,
        max_length=max(_own(queue.max_length, queue.length) for queue in queues),
        min_limit=min(limits + lowest) if all_read else None,
    )


def _own(of_one: int | None, of_all: int) -> int:
    return of_all if of_one is None else of_one


class ListeningSocket(Protocol):
    """Any listening socket: Python's, gevent's, or gunicorn's wrapper."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes: ...


def reason(error: OSError | QueueError) -> str:
    """Return why a way failed, with the errno's name."""
    if isinstance(error, OSError):
        return f"{errno.errorcode.get(error.errno or 0, 'OSError')} ({error.strerror})"
    return str(error)
