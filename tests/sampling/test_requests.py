"""requests: oldest and stranded requests from workers' rows."""

from __future__ import annotations

import pytest

from gunicorn_backlog.sampling.requests import (
    RequestSample,
    RequestSampler,
    oldest_s,
    stranded,
    waiting_by_pid,
)
from gunicorn_backlog.scoreboard.detail_row import DetailState, SocketState
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import LEAVING, RECYCLED, SlotRecord
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

SECOND_NS = 10**9


def pool(busy: int, queued: int = 0, leaving: int = 0) -> WorkerRow:
    """Return the row of a gthread worker with two threads."""
    return WorkerRow(Kind.GTHREAD, 0, 2, 0, busy, busy, queued, 0, busy, 0, None, leaving)


def sync(busy: int = 0, oldest_ns: int | None = None) -> WorkerRow:
    """Return the row of a sync worker."""
    return WorkerRow(Kind.SYNC, 0, 1, 0, busy, busy, 0, 0, busy, 0, oldest_ns)


def test_the_oldest_of_all_workers() -> None:
    """Without a request the age is 0; a clock that was read before the row gives 0, too."""
    rows = {1: sync(), 2: sync(1, 3 * SECOND_NS), 3: sync(1, 2 * SECOND_NS)}
    assert oldest_s(rows, 10 * SECOND_NS) == 8.0
    assert oldest_s(rows, SECOND_NS) == 0.0
    assert oldest_s({1: sync()}, SECOND_NS) == 0.0


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ({1: pool(2, 3), 2: pool(0)}, 2),
        ({1: pool(2, 1), 2: pool(1)}, 1),
        ({1: pool(2, 3), 2: pool(2, 1)}, 0),
        ({1: pool(1, 3), 2: pool(0)}, 0),  # a thread is about to take it
        ({1: pool(2, 3)}, 0),
        ({1: pool(2, 3), 2: pool(0, leaving=LEAVING)}, 0),
        ({1: pool(2, 3), 2: pool(0, leaving=RECYCLED)}, 0),
        ({1: pool(2, 3, LEAVING), 2: pool(1)}, 1),
    ],
)
def test_stranded_requests(rows: dict[int, WorkerRow], count: int) -> None:
    """They wait at a full worker, and another worker has free threads and accepts."""
    assert stranded(rows, {}) == count


def test_a_worker_that_is_asked_to_exit_takes_nothing() -> None:
    """Its free threads do not count."""
    assert stranded({1: pool(2, 3), 2: pool(0)}, {}, asked={2}) == 0


def test_accept_queues_of_workers() -> None:
    """With reuse_port a connection may wait at a busy sync worker."""
    record = SlotRecord(1, 1, Kind.SYNC, 0, 1, 0, 0, 0, 0, 0, 0)
    detail = DetailState(0, (SocketState(70, 0), None, SocketState(71, 0)))
    waiting = waiting_by_pid([(record, detail)], {70: 2, 71: 1, 72: 9})
    assert waiting == {1: 3}
    assert stranded({1: sync(1), 2: sync()}, waiting) == 1
    assert stranded({1: sync(), 2: sync()}, waiting) == 0


def test_two_samples_agree() -> None:
    """A request that a thread takes at once is not stranded."""
    sampler = RequestSampler()
    full, free = {1: pool(2, 3), 2: pool(0)}, {1: pool(2), 2: pool(0)}
    counts = [sampler.sample(rows, 0).stranded for rows in (full, full, free, full, full)]
    assert counts == [0, 2, 0, 0, 2]


def test_workers_without_queues_of_their_own() -> None:
    """Nothing can be stranded at sync workers on one socket, nor at an event loop."""
    sampler = RequestSampler()
    assert sampler.sample({1: sync(1)}, 0) == RequestSample(0.0, None)
    assert sampler.sample({1: sync(1)}, 0, waiting={}) == RequestSample(0.0, 0)
    loop = WorkerRow(Kind.ASGI, 0, 0, 0, 1, 1, 0, 0, 0, 0)
    assert sampler.sample({1: loop}, 0, waiting={}).stranded is None
    assert sampler.sample({}, 0).stranded is None
