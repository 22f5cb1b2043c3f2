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
        words[SINCE_NS] = since_ns
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
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Callable[..., T]:
    """Return ``handle`` as a function that records each call in a free one of ``records``.

    The code is that of ``track_busy``: a function that finds the record would be one frame more.

    :param beyond: called if no record is free.
    """
    free, fresh_ns, permitted = list(records), last_wait.fresh_ns, last_wait.permitted
    take, give_back = free.pop, free.append

    def handle_timed(*args: object, **named: object) -> T:
        since_ns = clock_ns()
        if 0 <= since_ns - last_wait.measured_ns < fresh_ns:
            permitted.add(get_ident())
        else:
            permitted.discard(get_ident())
        try:
            record = take()
        except IndexError:
            return beyond(*args, **named)
        try:
            words = record.words
            record.taken += 1
            words[TAKEN] = record.taken
            words[SINCE_NS] = since_ns
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

    __slots__ = ("_begun", "_in_flight", "_slot")

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._in_flight = 0
        self._begun = slot.numbers[BEGUN]

    def begin(self) -> None:
        """Count one request more; count none and raise if a signal handler raises."""
        slot = self._slot
        began = False
        try:
            with slot.lock:
                self._in_flight += 1
                self._begun += 1
                words = slot.words
                words[IN_FLIGHT] = self._in_flight
                words[BEGUN] = self._begun
                began = True
        except BaseException:
            if began:
                self.end()
            raise

    def end(self) -> None:
        """Count one request less."""
        slot = self._slot
        with slot.lock:
            self._in_flight -= 1
            slot.words[IN_FLIGHT] = self._in_flight

    def counted(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function; each call counts as a request."""
        slot = self._slot

        def function_counted(*args: object, **named: object) -> T:
            began = False
            try:
                with slot.lock:
                    self._in_flight += 1
                    self._begun += 1
                    words = slot.words
                    words[IN_FLIGHT] = self._in_flight
                    words[BEGUN] = self._begun
                    began = True
                return function(*args, **named)
            finally:
                if began:
                    with slot.lock:
                        self._in_flight -= 1
                        slot.words[IN_FLIGHT] = self._in_flight

        return function_counted

    def counted_async(self, function: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """Return the coroutine function; each call counts as a request until its end."""
        slot = self._slot

        async def function_counted(*args: object, **named: object) -> T:
            began = False
            try:
                with slot.lock:
                    self._in_flight += 1
                    self._begun += 1
                    words = slot.words
                    words[IN_FLIGHT] = self._in_flight
                    words[BEGUN] = self._begun
                    began = True
                return await function(*args, **named)
            finally:
                if began:
                    with slot.lock:
                        self._in_flight -= 1
                        slot.words[IN_FLIGHT] = self._in_flight

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
