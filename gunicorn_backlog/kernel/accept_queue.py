"""The accept queue of one listener, and the errors of its readers."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class QueueError(Exception):
    """The kernel's answer is malformed or incomplete."""


class ElsewhereError(QueueError):
    """The socket belongs to another network namespace than the list that was read."""

    def __init__(self) -> None:
        super().__init__("its socket belongs to another network namespace")


class AcceptQueue(NamedTuple):
    """The accept queue of a listener, in connections.

    length: the backlog. A queue is full at ``limit + 1``: ``length`` can be greater than ``limit``.
    limit: None: not readable.
    max_length, min_limit: after ``merge`` only: greatest length, and lowest limit, of one socket.
    """

    length: int
    limit: int | None
    max_length: int | None = None
    min_limit: int | None = None


def merge(queues: Sequence[AcceptQueue]) -> AcceptQueue:
    """Return the sum of all queues at one address; ``queues`` is not empty."""
    limits = [queue.limit for queue in queues if queue.limit is not None]
    lowest = [queue.min_limit for queue in queues if queue.min_limit is not None]
    all_read = len(limits) == len(queues)
    return AcceptQueue(
        length=sum(queue.length for queue in queues),
        limit=sum(limits) if all_read else None,
        max_length=max(
            queue.length if queue.max_length is None else queue.max_length for queue in queues
        ),
        min_limit=min(limits + lowest) if all_read else None,
    )


class ListeningSocket(Protocol):
    """A socket of Python or gevent, or gunicorn's wrapper of one."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes: ...


def reason(error: OSError | QueueError) -> str:
    """Return an error's text, with the name of its errno."""
    if isinstance(error, OSError):
        return f"{errno.errorcode.get(error.errno or 0, 'OSError')} ({error.strerror})"
    return str(error)
