"""One listener: the ways to read it, and where others find it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError, reason
from gunicorn_backlog.sampling.queue_readers import QueueReader, UnreadableListener, remedy
from gunicorn_backlog.scoreboard.server_info import ListenerRef

T = TypeVar("T")


class UnreadableError(Exception):
    """No way to read the listener works; says why not, and ``remedies`` what helps, if known."""

    def __init__(self, why: str, remedies: str) -> None:
        super().__init__(why)
        self.remedies = remedies


class Listener:
    """One listener, the ways to read it, and where others find it."""

    def __init__(self, name: str, ways: Sequence[QueueReader], place: ListenerRef) -> None:
        self.name = name
        self.place = place._replace(listener=name)
        self.read = ways[0].queue  # as a rule it works, ten times a second
        self.latest: AcceptQueue | None = None  # if netlink does not find it
        self.refused: UnreadableError | None = None  # of the ways before one that worked
        self.is_elsewhere = isinstance(
            ways[-1], UnreadableListener
        )  # in another network namespace, if read
        self._ways = ways
        self._drops = ways[0].drops
        with suppress(UnreadableError):  # it will be said when the drops are asked for
            self.note_drops()

    def read_otherwise(self) -> AcceptQueue | None:
        """Read the queue in any way; None if it was closed, or is read once per interval.

        Raises UnreadableError.
        """
        try:
            return self._first_that_works(lambda way: way.queue())
        except UnreadableError:
            self.latest = None
            raise

    def keep(self, queue: AcceptQueue) -> None:
        """Keep what was read for ``placed``, if netlink does not find it."""
        if queue.limit is None or self.is_elsewhere:
            self.latest = queue

    def note_drops(self) -> None:
        """Take in the kernel's counter of drops, in any way. Raises UnreadableError."""
        self._first_that_works(lambda way: way.note_drops())

    def take_drops(self) -> int | None:
        """Return the drops noted since the last call; None if nobody counts them."""
        return self._drops.take() if self._drops.begun else None

    def begin_interval(self) -> None:
        """Let what is costly to read be read again."""
        for way in self._ways:
            way.begin_interval()

    def placed(self) -> ListenerRef:
        """Return where it is, with what was read last if others can't read it."""
        if self.latest is None:
            return self.place
        drops = next(iter(self._drops.latest.values()), None)
        return self.place._replace(length=self.latest.length, limit=self.latest.limit, drops=drops)

    def _first_that_works(self, ask: Callable[[QueueReader], T]) -> T | None:
        failed: list[tuple[str, OSError | QueueError]] = []
        for way in self._ways:
            try:
                answer = ask(way)
            except (OSError, QueueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EBADF:
                    return None
                failed.append((way.name, error))
            else:
                if failed:
                    self.refused = _unreadable_error(failed)
                return answer
        raise _unreadable_error(failed)


def _unreadable_error(failed: Sequence[tuple[str, OSError | QueueError]]) -> UnreadableError:
    remedies = dict.fromkeys(remedy(way, error) for way, error in failed)
    return UnreadableError(
        "; ".join(f"{way}: {reason(error)}" for way, error in failed),
        "; ".join(filter(None, remedies)),
    )
