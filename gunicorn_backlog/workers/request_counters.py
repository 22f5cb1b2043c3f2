"""Wrappers that count requests and busy time in the worker's own slot.

Hot path: runs on every request. A signal handler of the app can raise wherever Python checks for
signals: at a call, at the start of a function, and in a loop. Therefore no call stands between the
stores of related words, ``with`` takes all locks, and ``finally`` ends each begin.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.scoreboard.slot import (
    BEGUN,
    IN_FLIGHT,
    SINCE_NS,
    TAKEN,
    WORK_NS,
    Record,
    Slot,
)

if TYPE_CHECKING:
    from gunicorn_backlog.workers.last_wait import LastWait

T = TypeVar("T")


def track_busy(
    handle: Callable[..., T],
    record: Record,
    last_wait: LastWait,
    *,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Callable[..., T]:
    """Return ``handle`` as a function that records its busy time; one call runs at a time.

    Apart from the call of ``handle``, the function only reads the clock.

    :param last_wait: of the worker; is permitted or not for the request of each call.
    """
    fresh_ns = last_wait.fresh_ns

    def handle_timed(*args: object, **named: object) -> T:
        since_ns = clock_ns()
        last_wait.is_permitted = since_ns - last_wait.measured_ns < fresh_ns
        words = record.words
        words[SINCE_NS] = 0  # until the request's head is parsed
        words[WORK_NS] = record.worked_ns - since_ns
        try:
            return handle(*args, **named)
        finally:
            try:
                record.worked_ns += clock_ns() - since_ns
            except BaseException:  # a signal handler raised before the time was added
                record.worked_ns += clock_ns() - since_ns
                raise
            finally:
                record.words[WORK_NS] = record.worked_ns

    return handle_timed


def track_busy_threads(
    handle: Callable[..., T],
    records: Iterable[Record],
    last_wait: LastWait,
    *,
    beyond: Callable[..., T],
    busy: dict[int, Record] | None = None,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Callable[..., T]:
    """Return ``handle`` as a function that records each call in a free one of ``records``.

    The code is that of ``track_busy``: a function that finds the record would be one frame more.

    :param busy: the record of each thread, by ident; filled in here.
    :param beyond: called if no record is free.
    """
    busy = {} if busy is None else busy
    free, fresh_ns, permitted = list(records), last_wait.fresh_ns, last_wait.permitted
    take, give_back = free.pop, free.append

    def handle_timed(*args: object, **named: object) -> T:
        since_ns, thread = clock_ns(), get_ident()
        if 0 <= since_ns - last_wait.measured_ns < fresh_ns:
            permitted.add(thread)
        else:
            permitted.discard(thread)
        try:
            record = take()
        except IndexError:
            busy.pop(thread, None)
            return beyond(*args, **named)
        try:
            busy[thread] = record
            words = record.words
            record.taken += 1
            words[TAKEN] = record.taken
            words[SINCE_NS] = 0  # until the request's head is parsed
            words[WORK_NS] = record.worked_ns - since_ns
            return handle(*args, **named)
        finally:
            try:
                record.worked_ns += clock_ns() - since_ns
            except BaseException:
                record.worked_ns += clock_ns() - since_ns
                raise
            finally:
                record.words[WORK_NS] = record.worked_ns
                give_back(record)

    return handle_timed


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


class AppProxy:
    """A proxy of an app: the attributes are the app's, and calls go to ``call``."""

    def __init__(self, app: Any, call: Callable[..., Any]) -> None:
        self._app = app
        self._call = call

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call ``call``."""
        return self._call(*args, **named)

    def __getattr__(self, name: str) -> Any:
        """Return the app's attribute."""
        if name == "_app":  # copy.copy looks up attributes before _app is set
            raise AttributeError(name)
        return getattr(self._app, name)


def before_run(worker: Any, wrap: Callable[[], object]) -> None:
    """Call ``wrap`` when gunicorn runs the worker, after all hooks.

    The user's hooks run before, and receive the worker unchanged.
    """
    run = worker.run

    def run_wrapped() -> None:
        wrap()
        run()

    worker.run = run_wrapped
