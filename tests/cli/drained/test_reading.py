"""Workers of which a reading does not know the requests."""

from __future__ import annotations

import os

import pytest

from gunicorn_backlog.cli.drained.reading import unknown_workers
from gunicorn_backlog.cli.inspect.worker_processes import Running
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import BEAT_NS
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard

SECOND = 10**9


@pytest.mark.parametrize(("late_s", "unknown"), [(0.1, []), (5, ["the requests of the worker 77"])])
def test_a_blocked_loop(late_s: float, unknown: list[str]) -> None:
    """It has not read the requests on its connections: they are in no counter."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    slot.loop.words[BEAT_NS] = SECOND
    rows = scoreboard.reader.read({os.getpid(): 1})
    running = Running({os.getpid(): 1}, {os.getpid(): 77})
    assert [*unknown_workers(running, rows, SECOND + int(late_s * SECOND))] == unknown
