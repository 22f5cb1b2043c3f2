"""The exact running time of an event loop, from the begin and the end of each poll.

Hot path: runs in each iteration of a loop. A signal handler of the app can raise at any call. No
call stands between the stores of related words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable
from typing import TypeVar

from gunicorn_backlog.scoreboard.loop_row import SINCE_NS, WORK_NS, LoopRow, Meter
from gunicorn_backlog.workers.loops.beat import LoopMeter

T = TypeVar("T")

# A poll that finds events at once takes some microseconds; of many events, or on a busy machine, it
# may seem to have slept. A poll that seems not to have slept has not.
_SLEPT_NS = 20_000


class PollTimer(LoopMeter):
    """Writes the words of ``Meter.EXACT``; each method runs in the loop's thread."""

    __slots__ = (
        "_began_ns",
        "_clock_ns",
        "_is_blocked",
        "_polled",
        "_ran_ns",
        "_row",
        "_slept",
        "_unpolled",
    )

    def __init__(self, row: LoopRow, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._row = row
        self._clock_ns = clock_ns
        self._ran_ns = -clock_ns()  # as the word: blocked: time run; running: less the time since
        self._is_blocked = self._polled = self._slept = False
        self._unpolled = Meter.NONE
        self._began_ns = 0  # of the latest poll

    def measure(self, now_ns: int) -> Meter:
        """Return ``Meter.EXACT``; ``ABSENT`` if the loop did not poll since the previous call.

        An app may replace the function that is timed. A hub may beat before its first poll.
        """
        polled, self._polled = self._polled, False
        unpolled, self._unpolled = self._unpolled, Meter.ABSENT
        return Meter.EXACT if polled else unpolled

    def mark(self, listening: Iterable[int]) -> bool:
        """Forget the polls so far, and return True."""
        self._slept = False
        return True

    def slept(self) -> bool:
        """Return whether the latest poll has slept, once for each poll.

        Of the latest only: gevent pauses ``accept`` while its pool is full, and a poll may sleep
        beside a full queue. The poll after the pause does not sleep.
        """
        slept, self._slept = self._slept, False
        return slept

    def before_poll(self) -> None:
        """Record that the loop is about to block."""
        self._began_ns = now_ns = self._clock_ns()
        if not self._is_blocked:
            self._row.words[WORK_NS] = self._ran_ns = self._ran_ns + now_ns
            self._is_blocked = True

    def after_poll(self) -> None:
        """Record that the loop runs; a second call has no effect."""
        now_ns = self._clock_ns()
        self._polled = True
        if self._is_blocked:
            words = self._row.words
            words[SINCE_NS] = now_ns
            words[WORK_NS] = self._ran_ns = self._ran_ns - now_ns
            self._is_blocked = False
            self._slept = now_ns - self._began_ns >= _SLEPT_NS


class SelectTimer(PollTimer):
    """Times the polls of an asyncio loop, by its selector's ``select``.

    asyncio does not watch a listener for a second if ``accept`` lacks a descriptor or memory: a
    poll may sleep beside a full queue.
    """

    __slots__ = ("_watched",)

    def __init__(
        self,
        row: LoopRow,
        watched: Container[int] = (),
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Time no poll yet.

        :param watched: the descriptors that the selector watches now.
        """
        super().__init__(row, clock_ns=clock_ns)
        self._watched = watched

    def mark(self, listening: Iterable[int]) -> bool:
        """Forget the polls so far, and return whether all these listeners are watched."""
        self._slept = False
        return all(fd in self._watched for fd in listening)

    def slept(self) -> bool:
        """Return whether a poll has slept since the mark."""
        return self._slept

    def timed(self, select: Callable[[float | None], T]) -> Callable[[float | None], T]:
        """Return a selector's ``select``; with a timeout other than 0 the loop is blocked.

        Inlined: calls of ``before_poll`` and ``after_poll`` take 0.1 µs more.
        """
        row, clock_ns, ran_ns = self._row, self._clock_ns, self._ran_ns

        def select_timed(timeout: float | None = None) -> T:
            nonlocal ran_ns
            self._polled = True
            if timeout is not None and timeout <= 0:
                return select(timeout)
            began_ns = clock_ns()
            row.words[WORK_NS] = ran_ns = ran_ns + began_ns
            try:
                return select(timeout)
            finally:
                try:
                    now_ns = clock_ns()
                except BaseException:  # a signal handler raised
                    now_ns = clock_ns()
                    raise
                finally:
                    words = row.words
                    words[SINCE_NS] = now_ns
                    words[WORK_NS] = ran_ns = ran_ns - now_ns
                    if now_ns - began_ns >= _SLEPT_NS:
                        self._slept = True

        return select_timed
