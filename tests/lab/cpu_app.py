"""A WSGI app that uses the processor for a known time.

``/mix/C/P`` uses C ms of CPU time, and responds after P ms. ``/burn/S`` is busy for S seconds.
``/sleep/M`` sleeps for M ms, and responds with the time of the begin, in ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond after the work in the path."""
    _, work, *numbers = environ["PATH_INFO"].split("/")
    began_ns = time.monotonic_ns()
    if work == "mix":
        used_ms, period_ms = map(float, numbers)
        use_cpu(used_ms / 1e3)
        time.sleep(max(0, period_ms / 1e3 - (time.monotonic_ns() - began_ns) / 1e9))
    elif work == "burn":
        while time.monotonic_ns() < began_ns + float(numbers[0]) * 1e9:
            pass
    elif work == "sleep":
        time.sleep(float(numbers[0]) / 1e3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(began_ns).encode()]


def use_cpu(seconds: float) -> None:
    """Use that much CPU time in this thread, however long this takes."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass
