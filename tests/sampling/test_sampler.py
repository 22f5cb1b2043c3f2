"""sampler: one sample, and the log lines of unreadable numbers."""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from gunicorn.workers.base_async import AsyncWorker

from gunicorn_backlog.config.tags import listener_tag
from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.sampler import BOOT_SPARE_S, Sampler
from gunicorn_backlog.sampling.worker_counts import WorkerCounter, WorkerCounts
from gunicorn_backlog.sampling.worker_sampler import UNREAD_IN_A_ROW
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.layout import SLOTS_AT
from gunicorn_backlog.scoreboard.loop_row import BEAT_NS
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import SLOT, WORK_NS
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary
from tests.lab.fake_arbiter import Arbiter, Cfg, Listener, Worker

LIMIT = 5
THREADS_AT = 56  # in a slot


@pytest.fixture
def arbiter() -> Iterator[Arbiter]:
    """Return an arbiter with one listener and two workers."""
    with socket.create_server(("127.0.0.1", 0), backlog=LIMIT) as sock:
        workers = {pid: Worker(pid=pid, age=pid) for pid in (1, 2)}
        yield Arbiter([Listener(sock)], workers, cfg=Cfg(backlog=LIMIT), worker_age=3)


def sampling(arbiter: Arbiter, scoreboard: Scoreboard | None) -> Sampler:
    """Return a sampler whose log lines pytest captures."""
    return Sampler(arbiter, scoreboard, OnceLogger(logging.getLogger("lab")))


def tag(arbiter: Arbiter) -> str:
    """Return the listener's tag."""
    sock = arbiter.LISTENERS[0].sock
    assert isinstance(sock, socket.socket)
    return listener_tag(sock.getsockname())


def test_one_sample(arbiter: Arbiter, caplog: pytest.LogCaptureFixture) -> None:
    """Queues, workers by state, and the forks so far; no log line."""
    scoreboard = Scoreboard(slots=2)
    sampler = sampling(arbiter, scoreboard)
    slot = scoreboard.claim(1, 1, Kind.SYNC, 1)
    slot.words[WORK_NS] = -1
    sample = sampler.sample()
    assert sample.queues == {tag(arbiter): AcceptQueue(0, LIMIT)}
    assert sample.counts == WorkerCounts(0, 1, 1, 0, 1, saturated=True)
    assert sample.forked == 2
    assert sample.work is not None
    assert sampler.listeners.dropped() == {tag(arbiter): 0}
    assert caplog.records == []


def test_a_kernel_that_leaves_the_limit_empty_is_not_believed(
    arbiter: Arbiter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of 0 in spite of a backlog means that the fields are not filled in; mocked."""
    monkeypatch.setattr(tcp_info, "read", lambda _: tcp_info.decode(bytes([10]) + bytes(31)))
    assert sampling(arbiter, None).sample().queues == {}
    assert "this kernel reports a limit of 0" in caplog.text


def write_threads_at(scoreboard: Scoreboard, line: int) -> None:
    """Overwrite the offset of the first slot's thread rows."""
    struct.pack_into("=I", scoreboard._memory, SLOTS_AT + THREADS_AT, line)


def test_a_worker_that_can_not_be_read(arbiter: Arbiter, caplog: pytest.LogCaptureFixture) -> None:
    """Unread once or twice: no counts. Unread repeatedly: the total only, with one log line."""
    scoreboard = Scoreboard(slots=2)
    sampler = sampling(arbiter, scoreboard)
    scoreboard.claim(1, 1, Kind.GTHREAD, 2)
    write_threads_at(scoreboard, 2**32 - 1)
    for _ in range(UNREAD_IN_A_ROW - 1):
        sample = sampler.sample()
        assert (sample.counts, sample.work) == (None, None)
    assert caplog.records == []
    for _ in range(3):
        sample = sampler.sample()
        assert (sample.counts, sample.work) == (WorkerCounts(0, 0, 0, 2, None), None)
        assert sample.queues == {tag(arbiter): AcceptQueue(0, LIMIT)}
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == [
        "a worker's slot was overwritten, or changes during each read"
    ]
    write_threads_at(scoreboard, 0)
    counts = sampler.sample().counts
    assert counts is not None
    assert (counts.idle, counts.starting, counts.unknown) == (1, 1, 0)
    write_threads_at(scoreboard, 2**32 - 1)
    assert sampler.sample().counts is None


def test_waits_that_can_not_be(arbiter: Arbiter, caplog: pytest.LogCaptureFixture) -> None:
    """Impossible waits are left out with one log line; later waits are reported."""
    scoreboard = Scoreboard(slots=2)
    sampler = sampling(arbiter, scoreboard)
    sampler.begin(0)
    slot = scoreboard.claim(1, 1, Kind.SYNC, 1)
    slot.measure_waits()
    sampler.sample()
    slot.waits[3] = 50
    assert sampler.workers.waits() == WaitSummary(50, 3, 3, 3)
    for nonsense in (10, 2**64 - 1):
        slot.waits[3] = nonsense
        assert sampler.workers.waits() is None
    assert [r.getMessage() for r in caplog.records] == [
        "gunicorn_backlog: a counter changed by -40: the waits of this interval are not sent"
    ]
    slot.waits[20] += 1
    assert sampler.workers.waits() == WaitSummary(1, 20, 20, 20)
    assert sampler.workers.waits() == WaitSummary(0, 0, 0, 0)


def test_delays_while_a_worker_can_not_be_read(arbiter: Arbiter) -> None:
    """No delays are reported, as overdue beats are not known; the next interval includes them."""
    scoreboard = Scoreboard(slots=2)
    sampler = sampling(arbiter, scoreboard)
    sampler.begin(0)
    slot = scoreboard.claim(1, 1, Kind.ASGI, 0)
    slot.loop.words[BEAT_NS] = time.monotonic_ns()
    sampler.sample()
    assert sampler.workers.delays() is not None
    scoreboard.claim(2, 2, Kind.GTHREAD, 2)
    struct.pack_into("=I", scoreboard._memory, SLOTS_AT + SLOT.size + THREADS_AT, 2**32 - 1)
    sampler.sample()
    slot.delays[20] += 1
    assert sampler.workers.delays() is None
    del arbiter.WORKERS[2]  # type: ignore[attr-defined]  # the test's own dictionary
    slot.loop.words[BEAT_NS] = time.monotonic_ns()
    sampler.sample()
    assert sampler.workers.delays() == WaitSummary(1, 20, 20, 20)


def claimed(scoreboard: Scoreboard, *pids: int) -> None:
    """Claim slots for workers whose age is their pid."""
    for pid in pids:
        scoreboard.claim(pid, pid, Kind.SYNC, 1)


def test_workers_that_write_nothing_between_two_samples(arbiter: Arbiter) -> None:
    """Without a store the counts stay, and the working time of a busy worker grows."""
    scoreboard = Scoreboard(slots=3)
    sampler = sampling(arbiter, scoreboard)
    slots = [scoreboard.claim(pid, pid, Kind.SYNC, 1) for pid in (1, 2)]
    slots[0].words[WORK_NS] = -1
    first, second = sampler.sample(), sampler.sample()
    assert first.counts == second.counts
    assert second.work is not None
    assert second.work.worked_ns * 2 == second.work.available_ns > 0
    slots[1].words[WORK_NS] = -1
    assert sampler.sample().counts == WorkerCounts(0, 2, 0, 0, 2, saturated=True)


def test_a_reload_to_another_class_is_seen(arbiter: Arbiter) -> None:
    """Workers of the former class count until they end; the next class may have an event loop."""
    scoreboard = Scoreboard(slots=3)
    sampler = sampling(arbiter, scoreboard)
    claimed(scoreboard, 1, 2)
    assert sampler.sample().counts == WorkerCounts(2, 0, 0, 0, 0, saturated=False)
    arbiter.worker_class = AsyncWorker
    assert sampler.sample().counts == WorkerCounts(2, 0, 0, 0, 0, saturated=False)
    arbiter.worker_class = type("Unknown", (), {})
    sample = sampler.sample()
    assert (sample.counts, sample.work) == (WorkerCounts(2, 0, 0, 0, 0, saturated=None), None)


def test_a_worker_that_never_reports(
    arbiter: Arbiter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without a slot is starting until gunicorn's timeout, which a reload may change."""
    now_s = 100.0
    arbiter.cfg = Cfg(backlog=LIMIT, timeout=30)
    scoreboard = Scoreboard(slots=3)
    claimed(scoreboard, 1)
    sampler = sampling(arbiter, scoreboard)
    monkeypatch.setattr(sampler.workers, "_counter", WorkerCounter(clock=lambda: now_s))
    assert sampler.sample().counts == WorkerCounts(1, 0, 1, 0, 0, saturated=False)
    now_s += 30 + BOOT_SPARE_S + 1
    arbiter.cfg = Cfg(backlog=LIMIT, timeout=60)
    assert sampler.sample().counts == WorkerCounts(1, 0, 1, 0, 0, saturated=False)
    assert caplog.records == []
    arbiter.cfg = Cfg(backlog=LIMIT, timeout=30)
    assert sampler.sample().counts == WorkerCounts(1, 0, 0, 1, None)
    assert ": workers have not reported after 35 s" in caplog.text


def test_what_is_unknown_is_found_in_each_sample(
    arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sample reports unknown workers again, although their slots do not change."""
    logger = OnceLogger(logging.getLogger("lab"))
    scoreboard = Scoreboard(slots=3)
    scoreboard.claim(1, 1, Kind.UNKNOWN, 0)
    scoreboard.claim(2, 2, Kind.FAILED, 0)
    sampler = Sampler(arbiter, scoreboard, logger)
    found: list[str] = []
    monkeypatch.setattr(logger, "warn", lambda kind, _: found.append(kind))
    for _ in range(3):
        sampler.sample()
    assert found == ["not instrumented", "unknown class"] * 3
