"""An event loop beside threads that hold Python's lock (GIL): delays as a timer sees them."""

from __future__ import annotations

import json
from statistics import mean

from gunicorn_backlog.scoreboard.wait_histogram import summarize
from tests.conftest import ServerFactory
from tests.lab.loop_rows import Loops, window
from tests.lab.waiting import wait_for
from tests.servers.workers.test_loops import UVICORN, UVLOOP, Installed, Loop

HOGS = 4
SECONDS = 4
NEAR = 0.2


def test_delays_are_those_of_the_apps_timer(serve: ServerFactory, installed: Installed) -> None:
    """The average is within 20 % of the app's, in one of several tries: both are random samples.

    asyncio waits for the lock within its poll, uvloop after it: there the wait is utilization.
    """
    asyncio_percent, uvloop_percent = (
        until_they_agree(loop, serve, installed) for loop in (UVICORN, UVLOOP)
    )
    assert asyncio_percent < uvloop_percent


def until_they_agree(loop: Loop, serve: ServerFactory, installed: Installed) -> float:
    """Return the loop's utilization in the first try in which the delays agree."""
    loops = loop.start(serve, installed(loop.versions[-1]))
    loops.wait_for_meter(loop.meter)
    tries: list[tuple[float, float]] = []

    def agree() -> float | None:
        ours_ms, app_ms, utilization = measure(loops)
        tries.append((ours_ms, app_ms))
        assert app_ms > 5  # Python hands the lock over after 5 ms
        return utilization if abs(ours_ms - app_ms) <= NEAR * app_ms else None

    return wait_for(f"the delays to agree: {tries}", agree)


def measure(loops: Loops) -> tuple[float, float, float]:
    """Return the average delay in ms, by us and by the app, and the loop's utilization."""
    before = loops.memory.reader.delays()
    answer, readings = loops.readings_during(lambda: loops.server.get(f"/hog/{HOGS}/{SECONDS}"))
    after = loops.memory.reader.delays()
    counts = [late - early for late, early in zip(after, before, strict=True)]
    return (
        summarize(counts).average_ms,
        mean(json.loads(answer)),
        window(readings[1:-1], []).ours,
    )
