"""exits: which workers gunicorn has asked to exit; for counts see tests/servers/workers."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
from collections import Counter
from typing import Any

import pytest

from gunicorn_backlog.arbiter import exits as exits_module
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


@pytest.mark.parametrize(("command", "reason"), [("exit 7", "crashed"), ("kill -9 $$", "killed")])
def test_a_signal_after_the_death_is_not_the_cause(command: str, reason: str) -> None:
    """gunicorn may signal a dead worker that it has not reaped; the worker's own end counts."""
    with subprocess.Popen(["sh", "-c", command]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        workers = {child.pid: Worker(child.pid, 1)}
        arbiter = Arbiter(WORKERS=workers)
        exits = Exits(arbiter, OnceLogger())
        exits.watch()
        workers[child.pid].aborted = True
        arbiter.kill_worker(child.pid, signal.SIGTERM)
        assert exits.asked() == set()
    workers.clear()
    assert +Counter(exits.take(())) == {reason: 1}


def test_a_system_without_waitid(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As macOS before Python 3.13: no status is known, and nothing fails."""
    for name in ("waitid", "P_ALL", "P_PID", "WEXITED", "WNOWAIT"):
        monkeypatch.delattr(os, name)
    workers = {pid: Worker(pid, pid) for pid in (1, 2)}
    arbiter = Arbiter(WORKERS=workers)
    exits = runpy.run_path(exits_module.__file__)["Exits"](arbiter, OnceLogger())
    exits.watch()
    arbiter.reap_workers()
    arbiter.kill_worker(2, signal.SIGTERM)
    workers.clear()
    assert +Counter(exits.take(())) == {"asked": 1, "unknown": 1}
    assert caplog.records == []


def test_parameters_and_results_of_an_embedding_arbiter() -> None:
    """A subclass may add parameters and results to both methods: all are passed on."""

    class Embedding(Arbiter):
        def reap_workers(self, *args: object, **named: object) -> Any:
            return args, named

        def kill_worker(self, *args: object, **named: object) -> Any:
            return args, named

    arbiter = Embedding()
    Exits(arbiter, OnceLogger()).watch()
    assert arbiter.reap_workers(1, why="test") == ((1,), {"why": "test"})
    term = signal.SIGTERM
    assert arbiter.kill_worker(1, term, 2, why="test") == ((1, term, 2), {"why": "test"})


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
