"""What the kernel says of one listening socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class QueueError(Exception):
    """What the kernel answered is not, or not wholly, what was asked for."""


class AcceptQueue(NamedTuple):
    """A listener's accept queue: ``length`` and ``limit``, both in connections.

    The queue holds ``limit + 1`` connections before the kernel takes no more, so ``length`` can be
    greater than ``limit``. Where several sockets listen at one address, as with ``reuse_port``,
    both are sums; then ``longest`` is the greatest length, and ``lowest`` the lowest limit of one.
    """

    length: int
    limit: int
    longest: int | None = None
    lowest: int | None = None


def together(queues: Sequence[AcceptQueue]) -> AcceptQueue:
    """Sum up the queues of one address; there must be one."""
    return AcceptQueue(
        length=sum(queue.length for queue in queues),
        limit=sum(queue.limit for queue in queues),
        longest=max(_own(queue.longest, queue.length) for queue in queues),
        lowest=min(_own(queue.lowest, queue.limit) for queue in queues),
    )


def _own(of_one: int | None, of_all: int) -> int:
    return of_all if of_one is None else of_one


class ListeningSocket(Protocol):
    """Any listening socket: Python's, gevent's, or gunicorn's wrapper."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes: ...
