"""workers.sync: what a watched handle writes, on a clock that the test sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from gunicorn_backlog.scoreboard import Kind, Scoreboard, State
from gunicorn_backlog.workers import sync

AGE = 1


class Worker:
    """A worker's handle, as gunicorn calls it; the servers' tests use real workers."""

    age = AGE
    pid = os.getpid()

    def __init__(self, scoreboard: Scoreboard) -> None:
        self.seen: list[State | None] = []
        self._scoreboard = scoreboard
        self.handle: Callable[..., object] = self._handle

    def _handle(self, listener: object, client: object, addr: object) -> object:
        """Look at the scoreboard from the inside of a request."""
        self.seen.append(self._scoreboard.read({self.pid: AGE})[self.pid])
        if isinstance(client, BaseException):
            raise client
        return (listener, client, addr)


@pytest.fixture
def clock_ns() -> Iterator[int]:
    """Return a clock that goes on by 100 ns with each look."""
    return iter(range(100, 10_000, 100))


def test_working_from_accept_to_close(clock_ns: Iterator[int]) -> None:
    """In use within handle, not after it; the time between is worked, errors included."""
    scoreboard = Scoreboard(slots=1)
    worker = Worker(scoreboard)
    slot = scoreboard.claim(worker.pid, AGE, Kind.SYNC, 1)
    sync.watch(worker, slot, clock_ns=lambda: next(clock_ns))

    assert worker.handle(1, 2, 3) == (1, 2, 3)
    with pytest.raises(SystemExit):
        worker.handle(1, SystemExit(1), 3)

    assert worker.seen == [
        State(Kind.SYNC, 1, in_use=1, worked_ns=0, changed_ns=100, begun=1, queued=0),
        State(Kind.SYNC, 1, in_use=1, worked_ns=100, changed_ns=300, begun=2, queued=0),
    ]
    assert scoreboard.read({worker.pid: AGE})[worker.pid] == State(
        Kind.SYNC, 1, in_use=0, worked_ns=200, changed_ns=400, begun=2, queued=0
    )
