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


def test_an_error_of_ours_is_logged_and_gunicorn_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """gunicorn's own method is called, whatever happens in ours."""
    called: list[str] = []

    class Strange(Arbiter):
        def reap_workers(self) -> None:
            called.append("reap")

        def kill_worker(self, pid: int, sig: int) -> None:
            called.append("kill")

    arbiter = Strange()
    Exits(arbiter, OnceLogger()).watch()
    arbiter.WORKERS = None  # type: ignore[assignment]  # of an unknown gunicorn
    arbiter.reap_workers()
    arbiter.kill_worker(1, signal.SIGTERM)
    assert called == ["reap", "kill"]
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "gunicorn_backlog: looking at exits failed",
        "gunicorn_backlog: noting a signal failed",
    ]
