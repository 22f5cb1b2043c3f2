"""Heartbeats of sync workers: one follows each request, others come after half of the timeout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tests.lab.server import Server
from tests.lab.waiting import wait_for

T = TypeVar("T")


def wait_with_heartbeats(server: Server, what: str, condition: Callable[[], T | None]) -> T:
    """Return the condition's first value that is true, with a request before each look."""

    def look() -> T | None:
        with suppress(OSError):
            server.get()
        return condition()

    return wait_for(what, look)
