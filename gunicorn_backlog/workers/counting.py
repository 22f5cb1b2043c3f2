"""Requests, counted by the process that serves them, into its slots."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from gunicorn_backlog.slot import BEGUN, CHECK, ENDED, SINCE_NS, WORKED_NS, Slot

T = TypeVar("T")


def timed(
    handle: Callable[..., T], slot: Slot, *, clock_ns: Callable[[], int] = time.monotonic_ns
) -> Callable[..., T]:
    """Return ``handle``, counted and timed in that slot; only one call at a time may be under way.

    It is on the way of every request, so it calls nothing but the clock.
    """
    seal = slot.seal
    count = worked_ns = 0

    def handle_timed(*args: object, **named: object) -> T:
        nonlocal count, worked_ns
        ended = count
        count += 1
        words = slot.words
        since_ns = clock_ns()
        words[BEGUN] = count
        words[SINCE_NS] = since_ns
        words[CHECK] = seal + count + ended + worked_ns + since_ns
        try:
            return handle(*args, **named)
        finally:
            worked_ns += clock_ns() - since_ns
            words = slot.words
            words[ENDED] = count
            words[WORKED_NS] = worked_ns
            words[CHECK] = seal + count + count + worked_ns + since_ns

    return handle_timed


class InFlight:
    """Requests that are served at the same time, in any number, by any thread."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._begun = self._ended = 0

    def begin(self) -> None:
        """Count one more."""
        slot = self._slot
        with slot.lock:
            self._begun += 1
            slot.words[BEGUN] = self._begun
            slot.words[CHECK] = slot.seal + self._begun + self._ended

    def end(self) -> None:
        """Count one less."""
        slot = self._slot
        with slot.lock:
            self._ended += 1
            slot.words[ENDED] = self._ended
            slot.words[CHECK] = slot.seal + self._begun + self._ended

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
        return getattr(self._app, name)
