"""The use of thread pools over samples of real slots."""

from __future__ import annotations

import os

from gunicorn_backlog.cli.advise.measured import PoolUse
from gunicorn_backlog.cli.advise.pools import Pools
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import PoolState
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard

OTHER = 1  # a pid that lives


def test_shares_of_the_samples_and_maxima() -> None:
    """A pool is full, or has a queue, if that of any worker is; numbers are sums over workers."""
    scoreboard = Scoreboard(slots=2, thread_rows=0)
    slots = [scoreboard.claim(pid, 1, Kind.ASGI, 0) for pid in (os.getpid(), OTHER)]
    pools = Pools()
    for states in (
        (None, None),
        (PoolState(3, 0, 4), PoolState(0, 0, 4)),
        (PoolState(4, 0, 4), PoolState(2, 0, 4)),
        (PoolState(4, 7, 4), PoolState(4, 1, 4)),
    ):
        for slot, state in zip(slots, states, strict=True):
            slot.loop.write_pools([state, None, None, None])
        pools.add(scoreboard.reader.read({os.getpid(): 1, OTHER: 1}).by_pid)
    assert pools.use() == {"anyio": PoolUse(0.5, 0.25, 8, 8, 8)}


def test_a_pool_without_a_fixed_size() -> None:
    """The number of its threads is unknown, and the pool is never full."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    slot.loop.write_pools([None, PoolState(5, 0, None), None, None])
    pools = Pools()
    pools.add(scoreboard.reader.read({os.getpid(): 1}).by_pid)
    assert pools.use() == {"asgiref": PoolUse(0, 0, 5, 0, None)}
