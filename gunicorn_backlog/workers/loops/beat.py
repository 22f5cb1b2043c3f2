"""The beat: a timer of 100 ms in an event loop; its lateness is the loop's delay.

A beat that is late by L counts L. The beats that it swallowed count L less 100 ms, L less 200 ms,
and so on. The next beat is due 100 ms after the beat: an idle worker wakes up ten times per second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.scoreboard.loop_row import BEAT_EVERY_NS, BEAT_NS, METER, Meter
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.scoreboard.wait_histogram import LONGEST_MS, bucket_of

BEAT_EVERY_S = BEAT_EVERY_NS / 1e9
_MS_NS = 1_000_000
_LONGEST_NS = LONGEST_MS * _MS_NS

CallLater = Callable[[float, Callable[[], None]], object]


class LoopMeter:
    """Measures the running time of one loop. This base class is of loops that can't be measured."""

    __slots__ = ()

    def measure(self, now_ns: int) -> Meter:
        """Bring the words of the loop row up to date, and return how they are measured now."""
        return Meter.ABSENT

    def mark(self, listening: Iterable[int]) -> bool:
        """Record the time from which ``slept`` looks for polls.

        :param listening: descriptors of the listeners. False: polls may sleep beside their queues.
        """
        return False

    def slept(self) -> bool:
        """Return whether a poll has slept since the mark; False: no, or unknown.

        A poll sleeps if no event is ready when it begins.
        """
        return False


class Beat:
    """The beat of one loop; all methods run in the loop's thread.

    meter: of the loop.
    callbacks: called at each beat, in the loop. They must not block. A callback that raises an
        exception is removed, and the exception is logged.
    """

    def __init__(
        self,
        slot: Slot,
        meter: LoopMeter,
        call_later: CallLater,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.callbacks: list[Callable[[], object]] = []
        self._slot = slot
        self.meter = meter
        self._call_later = call_later
        self._clock_ns = clock_ns
        self._due_ns: int | None = None  # None: the loop may not have run until the beat
        self._logger = OnceLogger()

    def start(self) -> None:
        """Beat at the loop's next iteration, and from then on every 100 ms."""
        self._call_later(0, self._beat)

    def loop_stopped(self) -> None:
        """Withdraw the state of the loop until the next beat: the loop may never run again."""
        self._due_ns = None
        words = self._slot.loop.words
        words[METER] = Meter.NONE
        words[BEAT_NS] = 0

    def _beat(self) -> None:
        now_ns = self._clock_ns()
        try:
            if self._due_ns is not None:
                self._count_delays(now_ns - self._due_ns)
            words = self._slot.loop.words
            words[BEAT_NS] = now_ns
            words[METER] = self.meter.measure(now_ns)
            self._call_callbacks()
        finally:
            self._due_ns = now_ns + BEAT_EVERY_NS
            self._call_later(BEAT_EVERY_S, self._beat)

    def _count_delays(self, late_ns: int) -> None:
        slot = self._slot
        for delay_ns in range(min(max(0, late_ns), _LONGEST_NS), -1, -BEAT_EVERY_NS):
            bucket = bucket_of((delay_ns + _MS_NS // 2) // _MS_NS)
            slot.delay_counters[bucket] += 1
            slot.delays[bucket] = slot.delay_counters[bucket]

    def _call_callbacks(self) -> None:
        for callback in tuple(self.callbacks):
            try:
                callback()
            except Exception as error:
                self.callbacks.remove(callback)
                self._logger.exception("a read of a thread pool", error)
