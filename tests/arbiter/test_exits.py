"""exits: which workers gunicorn has asked to exit; for counts see tests/servers/workers."""

from __future__ import annotations

import signal

import pytest

from gunicorn_backlog.arbiter.exits import Exits
from gunicorn_backlog.log import OnceLogger
from tests.lab.fake_arbiter import Arbiter, Worker


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL])
def test_workers_that_gunicorn_asked_to_exit(ending: signal.Signals) -> None:
    """From the signal until the exit was counted; other signals do not ask for an exit."""
    workers = {pid: Worker(pid, pid) for pid in (1, 2)}
    arbiter = Arbiter(WORKERS=workers)
    exits = Exits(arbiter, OnceLogger())
    exits.watch()
    arbiter.kill_worker(1, signal.SIGUSR1)
    assert exits.asked() == set()
    arbiter.kill_worker(2, ending)
    assert exits.asked() == {2}
    del workers[2]
    exits.take(())
    assert exits.asked() == set()
