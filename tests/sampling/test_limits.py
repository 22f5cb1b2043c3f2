"""limits: the log line about a limit that is lower than ``backlog``."""

from __future__ import annotations

import logging

import pytest

from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling import limits as module
from gunicorn_backlog.sampling.limits import SETTLED_S, Limits

LISTENER = "127.0.0.1:8000"


class Clock:
    """A clock that advances by half of SETTLED_S at each reading."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        self.now_s += SETTLED_S / 2
        return self.now_s


@pytest.fixture
def limits() -> Limits:
    """Return limits whose log lines pytest captures."""
    return Limits(OnceLogger(logging.getLogger("lab")), clock=Clock())


@pytest.mark.parametrize(
    ("somaxconn", "why"),
    [
        (128, "net.core.somaxconn clamps the limit: raise this sysctl"),
        (4096, "another listen() call set the limit (net.core.somaxconn is 4096)"),
        (None, "can't be read here"),
    ],
)
def test_it_is_logged_once(
    somaxconn: int | None,
    why: str,
    limits: Limits,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line names the cause by somaxconn, which is mocked: it is the machine's."""
    monkeypatch.setattr(module, "somaxconn", lambda: somaxconn)
    for limit in (128,) * 10 + (100,) * 10:
        limits.check({LISTENER: AcceptQueue(0, limit)}, 2048)
    (message,) = caplog.messages
    assert f"the limit of {LISTENER} is set to 2048, the kernel enforces 128: " in message
    assert why in message
    assert "asgi" not in message
    assert "systemd" not in message


@pytest.mark.parametrize(
    ("worker_class", "limit", "worker"),
    [
        ("asgi", 100, "gunicorn's asgi worker"),
        ("gunicorn.workers.gasgi.ASGIWorker", 100, "gunicorn's asgi worker"),
        ("asgi", 128, None),
        ("aiohttp.GunicornWebWorker", 128, "aiohttp's worker"),
        ("aiohttp.worker.GunicornUVLoopWebWorker", 128, "aiohttp's worker"),
        ("aiohttp.GunicornWebWorker", 100, None),
        ("sync", 100, None),
    ],
)
def test_a_worker_is_named_only_if_it_set_the_limit(
    worker_class: str,
    limit: int,
    worker: str | None,
    limits: Limits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only a worker that listens again, with its own backlog, is named as the cause."""
    for _ in range(3):
        limits.check({LISTENER: AcceptQueue(0, limit)}, 2048, worker_class)
    (message,) = caplog.messages
    assert (f"makes asyncio call listen({limit})" in message) is (worker is not None)
    assert worker is None or f": {worker} makes " in message


def test_a_listener_of_another_network_namespace(
    limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    """Another namespace's somaxconn is not known."""
    for _ in range(3):
        limits.check({LISTENER: AcceptQueue(0, 128)}, 2048, elsewhere={LISTENER})
    (message,) = caplog.messages
    assert message.endswith("the kernel enforces 128: net.core.somaxconn can't be read here")


def test_a_limit_that_could_not_be_read(limits: Limits, caplog: pytest.LogCaptureFixture) -> None:
    """A limit of None is not compared."""
    for _ in range(10):
        limits.check({LISTENER: AcceptQueue(0, None)}, 2048)
    assert caplog.messages == []


def test_a_low_limit_that_passes_is_not_logged(
    limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit that is low for a moment, as during a HUP, is not logged."""
    for _ in range(10):
        limits.check({LISTENER: AcceptQueue(0, 128)}, 2048)
        limits.check({LISTENER: AcceptQueue(0, 2048)}, 2048)
    assert caplog.messages == []


def test_each_of_several_queues_counts(limits: Limits, caplog: pytest.LogCaptureFixture) -> None:
    """With reuse_port each queue's limit is compared, not their sum."""
    for _ in range(10):
        limits.check({LISTENER: AcceptQueue(0, 3 * 2048, max_length=0, min_limit=2048)}, 2048)
    assert caplog.messages == []
    for _ in range(10):
        limits.check({LISTENER: AcceptQueue(0, 3 * 2000, max_length=0, min_limit=100)}, 2048)
    assert "the kernel enforces 100" in caplog.text


def test_the_machines_own(limits: Limits) -> None:
    """This machine's somaxconn is read."""
    greatest = somaxconn()
    assert greatest is not None
    assert greatest > 0
