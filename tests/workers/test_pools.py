"""Readers of thread pools that fail."""

from __future__ import annotations

import os

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import PoolState
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.workers.loops.pools import Pools

USED = PoolState(1, 0, 4)


def test_a_reader_that_raises_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    """Its pool disappears, the others stay, and one line is logged."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    states = [USED]

    def read_default() -> PoolState:
        return states[0]

    pools = Pools(slot.loop, {"default": read_default, "anyio": lambda: USED})

    def seen() -> dict[str, PoolState]:
        loop = scoreboard.reader.read({os.getpid(): 1}).by_pid[os.getpid()].loop
        assert loop is not None
        return dict(loop.pools)

    pools()
    assert seen() == {"anyio": USED, "default": USED}
    states.clear()
    for _ in range(2):
        pools()
        assert seen() == {"anyio": USED}
    (record,) = caplog.records
    assert record.getMessage().startswith("gunicorn_backlog: reading the pool default failed")
