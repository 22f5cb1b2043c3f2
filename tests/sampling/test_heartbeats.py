"""The oldest heartbeat, from gunicorn's own files, and how often these are read."""

from __future__ import annotations

import os
import time

import pytest
from gunicorn.config import Config
from gunicorn.workers.workertmp import WorkerTmp

from gunicorn_backlog.sampling.heartbeats import Heartbeats
from tests.lab.fake_arbiter import Arbiter, Cfg, Heartbeat, Worker


class CountedBeat(Heartbeat):
    """A heartbeat that counts its reads."""

    reads = 0

    def last_update(self) -> float:
        """Count, and return the time of the latest touch."""
        self.reads += 1
        return super().last_update()


def aged(age_s: float) -> CountedBeat:
    """Return a heartbeat of that age."""
    return CountedBeat(time.monotonic() - age_s)


def test_the_share_is_the_oldest_workers() -> None:
    """Percent of the timeout, the maximum of the interval; nothing without timeout or worker."""
    arbiter = Arbiter(WORKERS={1: Worker(1, 1, tmp=aged(3)), 2: Worker(2, 2, tmp=aged(6))})
    heartbeats = Heartbeats(arbiter)
    heartbeats.sample()
    arbiter.WORKERS[2].tmp.at_s = time.monotonic()  # type: ignore[attr-defined]  # the fake's
    heartbeats.sample()
    assert heartbeats.take() == pytest.approx(20, abs=1)
    heartbeats.sample()
    assert heartbeats.take() == pytest.approx(10, abs=1)
    arbiter.cfg = Cfg(timeout=0)
    heartbeats.sample()
    assert heartbeats.take() is None


def test_a_reading_is_due_once_per_interval_and_often_in_a_timeout() -> None:
    """Of 300 samples in 30 s one in six reads, and each end of an interval."""
    now_s, beat = 0.0, aged(1)
    heartbeats = Heartbeats(Arbiter(WORKERS={1: Worker(1, 1, tmp=beat)}), clock=lambda: now_s)
    for number in range(1, 301):
        now_s = number / 10
        heartbeats.sample()
        if number % 100 == 0:
            heartbeats.take()
    assert 50 <= beat.reads <= 53


def test_without_a_timeout_nothing_is_read() -> None:
    """gunicorn looks at no heartbeat then."""
    beat = aged(1)
    heartbeats = Heartbeats(Arbiter(WORKERS={1: Worker(1, 1, tmp=beat)}, cfg=Cfg(timeout=0)))
    heartbeats.sample()
    assert heartbeats.take() is None
    assert beat.reads == 0


def test_gunicorns_file() -> None:
    """Before the first heartbeat gunicorn does not kill: None. A closed file is left out."""
    tmp = WorkerTmp(Config())
    heartbeats = Heartbeats(Arbiter(WORKERS={1: Worker(1, 1, tmp=tmp)}))
    heartbeats.sample()
    assert heartbeats.take() is None
    tmp.notify()
    heartbeats.sample()
    share = heartbeats.take()
    assert share is not None
    assert 0 <= share < 10
    beat_s = time.monotonic() - 15
    os.utime(tmp.fileno(), (beat_s, beat_s))
    heartbeats.sample()
    assert heartbeats.take() == pytest.approx(50, abs=2)
    tmp.close()
    heartbeats.sample()
    assert heartbeats.take() is None
