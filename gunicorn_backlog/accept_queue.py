"""What the kernel says of one listening socket."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class QueueError(Exception):
    """What the kernel answered is not, or not wholly, what was asked for."""


class AcceptQueue(NamedTuple):
    """A listener's accept queue: ``length`` and ``limit``, both in connections.

    The queue holds ``limit + 1`` connections before the kernel takes no more, so ``length`` can be
    greater than ``limit``. With ``reuse_port`` each worker has a queue of its own at one address:
    then both are sums, of so many ``queues``, and ``longest`` is the length of the longest.
    """

    length: int
    limit: int
    queues: int = 1
    longest: int | None = None


class ListeningSocket(Protocol):
    """Any listening socket: Python's, gevent's, or gunicorn's wrapper."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes: ...
