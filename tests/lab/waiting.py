"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 40.0


def wait_for(what: str, condition: Callable[[], T | None], *, deadline_s: float = DEADLINE_S) -> T:
    """Return the condition's first true value; raise AssertionError after the deadline."""
    end_s = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end_s:
            raise AssertionError(f"waited {deadline_s} s in vain for: {what}")
        time.sleep(0.02)
