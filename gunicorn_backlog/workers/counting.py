"""Requests, counted by the process that serves them, into its slot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from gunicorn_backlog.slot import BEGUN, IN_FLIGHT, SINCE_NS, WORK_NS, Record, Slot

T = TypeVar("T")


def timed(
    handle: Callable[..., T], record: Record, *, clock_ns: Callable[[], int] = time.monotonic_ns
) -> Callable[..., T]:
    """Return ``handle``, each call of which is counted and timed: there is one at a time.

    It is on the way of every request, so it calls nothing but the clock.
    """

    def handle_timed(*args: object, **named: object) -> T:
        words = record.words
        worked_ns = words[WORK_NS]
        if worked_ns < 0:  # a signal handler that raised broke the former off before it could end
            worked_ns += words[SINCE_NS]
        since_ns = clock_ns()
        try:
            words[BEGUN] += 1
            words[SINCE_NS] = since_ns
            words[WORK_NS] = worked_ns - since_ns
        except ValueError:
            record.heal()
        try:
            return handle(*args, **named)
        finally:
            try:
                record.words[WORK_NS] = worked_ns + clock_ns() - since_ns
            except ValueError:
                record.heal()

    return handle_timed


def any_of(handles: list[Callable[..., T]], beyond: Callable[..., T]) -> Callable[..., T]:
    """Return what calls one of these, each of which is called by one thread at a time.

    :param beyond: what is called in their place if none is free.
    """
    take, give_back = handles.pop, handles.append

    def handle_by_any(*args: object, **named: object) -> T:
        try:
            handle = take()
        except IndexError:
            return beyond(*args, **named)
        try:
            return handle(*args, **named)
        finally:
            give_back(handle)

    return handle_by_any


class InFlight:
    """Requests that are served at the same time, in any number, by any thread."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def begin(self) -> None:
        """Count one more."""
        slot = self._slot
        lock = slot.lock
        lock.acquire()  # twice as fast as ``with``
        try:
            slot.words[IN_FLIGHT] += 1
            slot.words[BEGUN] += 1
        except ValueError:
            slot.heal()
        finally:
            lock.release()

    def end(self) -> None:
        """Count one less; of those that began before the record began anew, none."""
        slot = self._slot
        lock = slot.lock
        lock.acquire()
        try:
            in_flight = slot.words[IN_FLIGHT]
            slot.words[IN_FLIGHT] = in_flight - 1 if in_flight > 0 else 0
        finally:
            lock.release()

    def counted(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function, each call of which is a request."""

        def function_counted(*args: object, **named: object) -> T:
            self.begin()
            try:
                return function(*args, **named)
            finally:
                self.end()

        return function_counted


class InPlaceOf:
    """An app that is called by way of ``call``, and has the attributes that it had."""

    def __init__(self, app: Any, call: Callable[..., Any]) -> None:
        self._app = app
        self._call = call

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it."""
        return self._call(*args, **named)

    def __getattr__(self, name: str) -> Any:
        """Return what the app has of that name."""
        if name == "_app":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._app, name)


def when_it_runs(worker: Any, wrap: Callable[[], None]) -> None:
    """Have ``wrap`` called when gunicorn runs the worker, right after all hooks.

    Whatever hooks of the user's own find in the worker until then is what gunicorn put there.
    """
    run = worker.run

    def run_watched() -> None:
        wrap()
        run()

    worker.run = run_watched
