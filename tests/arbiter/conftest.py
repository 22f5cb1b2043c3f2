"""A monitor in this process, with a fake arbiter."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator

import pytest
from agent import StandInAgent

from gunicorn_backlog.arbiter import reload
from gunicorn_backlog.arbiter.monitor import Monitor
from gunicorn_backlog.config import configure
from gunicorn_backlog.config.configure import Configured
from gunicorn_backlog.log import OnceLogger
from tests.lab.fake_arbiter import Arbiter, Listener, Worker
from tests.lab.waiting import wait_for

Starting = Callable[[], Monitor]


@pytest.fixture
def _settings(monkeypatch: pytest.MonkeyPatch, agent: StandInAgent) -> None:
    monkeypatch.setattr(configure, "configured", Configured())
    monkeypatch.setattr(reload, "configured", configure.configured)
    monkeypatch.setenv("GUNICORN_BACKLOG_URL", agent.url)
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "0.1")


@pytest.fixture
def arbiter(_settings: None) -> Iterator[Arbiter]:
    """Yield an arbiter with one listener, and one worker that never allocates a slot."""
    with socket.create_server(("127.0.0.1", 0), backlog=5) as sock:
        yield Arbiter([Listener(sock)], {1: Worker(pid=1, age=1)}, worker_age=1)


@pytest.fixture
def started(arbiter: Arbiter) -> Iterator[Starting]:
    """Yield a function that starts a monitor, which is stopped at the end."""
    monitors: list[Monitor] = []

    def start() -> Monitor:
        monitors.append(Monitor(arbiter, OnceLogger(logging.getLogger("lab"))))
        monitors[-1].start()
        return monitors[-1]

    yield start
    for monitor in monitors:
        monitor.stop()
        wait_for("the thread to end", monitor._ended.is_set)
        if monitor._pipeline._reporter is not None:
            monitor._pipeline._reporter.agent.close()


def fork() -> None:
    """Fork, as the arbiter does for each worker."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
