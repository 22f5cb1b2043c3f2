"""The requests in flight of a worker that serves any number of requests at a time.

Hot path: runs on every request; see ``request_counters`` for the rules that signal handlers impose.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gunicorn_backlog.scoreboard.slot import BEGUN, IN_FLIGHT, SINCE_NS, Slot

T = TypeVar("T")


class InFlight:
    """The requests in flight of one worker, counted by any number of its threads.

    ``counted`` and ``counted_async`` contain ``begin`` and ``end`` as code, not as calls. A signal
    handler can raise at the start of a function: a call of ``end`` could then end nothing.
    """

    __slots__ = ("_begun", "_clock_ns", "_in_flight", "_oldest", "_slot", "_starts")

    def __init__(self, slot: Slot, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._slot = slot
        self._clock_ns = clock_ns
        self._in_flight = 0
        self._begun = slot.numbers[BEGUN]
        self._starts: dict[int, int] = {}  # by the request's number, the oldest first
        self._oldest = 0  # its number; 0: none

    def begin(self) -> int:
        """Count one request more and return its number; count none if a signal handler raises."""
        slot, began = self._slot, 0
        now_ns = self._clock_ns()
        try:
            with slot.lock:
                self._in_flight += 1
                self._begun = number = self._begun + 1
                self._starts[number] = now_ns
                words = slot.words
                words[IN_FLIGHT] = self._in_flight
                words[BEGUN] = number
                if not self._oldest:
                    self._oldest = number
                    words[SINCE_NS] = now_ns
                began = number
        except BaseException:
            if began:
                self.end(began)
            raise
        return began

    def end(self, number: int) -> None:
        """Count one request less: the one with this number."""
        slot, starts = self._slot, self._starts
        with slot.lock:
            self._in_flight -= 1
            words = slot.words
            words[IN_FLIGHT] = self._in_flight
            del starts[number]
            if number == self._oldest:
                self._oldest = 0
                for self._oldest in starts:
                    break
                words[SINCE_NS] = starts[self._oldest] if self._oldest else 0

    def counted(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function; each call counts as a request."""
        slot, starts, clock_ns = self._slot, self._starts, self._clock_ns

        def function_counted(*args: object, **named: object) -> T:
            began, now_ns = 0, clock_ns()
            try:
                with slot.lock:
                    self._in_flight += 1
                    self._begun = number = self._begun + 1
                    starts[number] = now_ns
                    words = slot.words
                    words[IN_FLIGHT] = self._in_flight
                    words[BEGUN] = number
                    if not self._oldest:
                        self._oldest = number
                        words[SINCE_NS] = now_ns
                    began = number
                return function(*args, **named)
            finally:
                if began:
                    with slot.lock:
                        self._in_flight -= 1
                        words = slot.words
                        words[IN_FLIGHT] = self._in_flight
                        del starts[began]
                        if began == self._oldest:
                            self._oldest = 0
                            for self._oldest in starts:
                                break
                            words[SINCE_NS] = starts[self._oldest] if self._oldest else 0

        return function_counted

    def counted_async(
        self, function: Callable[..., Awaitable[T]], *, ages: bool = True
    ) -> Callable[..., Awaitable[T]]:
        """Return the coroutine function; each call counts as a request until its end.

        :param ages: False: the call is never the oldest request, as a websocket.
        """
        slot, starts, clock_ns = self._slot, self._starts, self._clock_ns

        async def function_counted(*args: object, **named: object) -> T:
            began, now_ns = 0, clock_ns()
            try:
                with slot.lock:
                    self._in_flight += 1
                    self._begun = number = self._begun + 1
                    words = slot.words
                    words[IN_FLIGHT] = self._in_flight
                    words[BEGUN] = number
                    if ages:
                        starts[number] = now_ns
                        if not self._oldest:
                            self._oldest = number
                            words[SINCE_NS] = now_ns
                    began = number
                return await function(*args, **named)
            finally:
                if began:
                    with slot.lock:
                        self._in_flight -= 1
                        words = slot.words
                        words[IN_FLIGHT] = self._in_flight
                        if ages:
                            del starts[began]
                            if began == self._oldest:
                                self._oldest = 0
                                for self._oldest in starts:
                                    break
                                words[SINCE_NS] = starts[self._oldest] if self._oldest else 0

        return function_counted
