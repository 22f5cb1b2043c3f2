"""worker_row: the decoding of slots and of threads' records."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from gunicorn_backlog.scoreboard.kind import STATE_UNKNOWN, Kind
from gunicorn_backlog.scoreboard.loop_row import LOOP_ROW, LoopState
from gunicorn_backlog.scoreboard.slot import IDLE_HTTP2, OVERFLOW, SLOT, SlotRecord
from gunicorn_backlog.scoreboard.worker_row import (
    WorkerRow,
    decode_pool,
    decode_slots,
    pools_with_rows,
)

THREAD_ROWS = 100
WORDS = (0, 0, 0, 0)


def slot(
    pid: int, kind: Kind, words: tuple[int, int, int, int] = WORDS, *, capacity: int = 1
) -> SlotRecord:
    """Return a slot whose age is its pid."""
    return SlotRecord(pid, pid, kind, 1, capacity, 10 * pid, *words, 0)


def pool(pid: int, threads: int, threads_at: int = 0, claimed_ns: int = 0) -> SlotRecord:
    """Return the slot of a gthread worker."""
    return SlotRecord(pid, pid, Kind.GTHREAD, 1, threads, claimed_ns, *WORDS, threads_at)


def no_loops(slots: int) -> Callable[[], bytes]:
    """Return a function that returns the loop rows of so many slots, all 0."""
    return lambda: bytes(slots * LOOP_ROW.size)


def decoded(*slots: SlotRecord, running: dict[int, int]) -> dict[int, WorkerRow]:
    """Return the rows by pid, of which none is a gthread worker's."""
    octets = b"".join(SLOT.pack(*slot) for slot in slots)
    rows, pools = decode_slots(octets, running, no_loops(len(slots)))
    assert pools == []
    return rows


def test_rows_are_those_of_running_workers() -> None:
    """Neither a dead worker's nor that of an earlier process with the same pid; pools apart."""
    slots = [slot(1, Kind.SYNC), slot(2, Kind.ASGI), slot(3, Kind.SYNC), pool(4, 2), pool(5, 2)]
    octets = b"".join(SLOT.pack(*slot) for slot in slots)
    rows, pools = decode_slots(octets, {2: 2, 3: 50, 4: 4, 6: 6}, no_loops(5))
    assert list(rows) == [2]
    assert pools == slots[3:]


def test_of_one_request_at_a_time() -> None:
    """Busy since the begin, and the working time continues; idle: the working time stays."""
    rows = decoded(
        slot(1, Kind.SYNC, (1000, 4, 5000, 4)),
        slot(2, Kind.SYNC, (1000 - 5300, 5, 5300, 6)),
        running={1: 1, 2: 2},
    )
    assert rows == {
        1: WorkerRow(Kind.SYNC, True, 1, 10, 0, 0, 0, 4, 0, 1000, None),
        2: WorkerRow(Kind.SYNC, True, 1, 20, 1, 1, 0, 6, 1, 1000 - 5300, 5300),
    }
    assert [row.worked_by(5350) for row in rows.values()] == [1000, 1050]


@pytest.mark.parametrize("kind", [Kind.ASGI, Kind.GREENLET, Kind.WSGI, *STATE_UNKNOWN])
def test_of_any_number_of_requests(kind: Kind) -> None:
    """Busy with those in flight; the time is not recorded."""
    rows = decoded(slot(1, kind, (3, 7, 8, 9), capacity=0), running={1: 1})
    loop = None if kind in STATE_UNKNOWN else LoopState(0, 0, 0, 0)
    assert rows == {1: WorkerRow(kind, True, 0, 10, 3, 3, 0, 9, 0, 0, 8, 0, loop)}


def test_two_slots_of_one_worker_are_one_row() -> None:
    """A worker that overwrites memory may cause it: the later slot counts."""
    first, second = slot(1, Kind.SYNC, (0, 0, 0, 2)), slot(1, Kind.SYNC, (0, 0, 0, 3))
    assert decoded(first, second, running={1: 1})[1].begun == 3


def decoded_pool(
    words: tuple[int, int, int, int], work_ns: list[int], taken: list[int], since_ns: list[int]
) -> WorkerRow:
    """Return the row of a pool of three threads, in the second three of the thread rows."""
    rows = [[7] * 24, *([*numbers, *[9] * 5] for numbers in (work_ns, taken, since_ns))]
    octets = b"".join(
        number.to_bytes(8, sys.byteorder, signed=True) for row in rows for number in row
    )
    found = pool(1, 3, threads_at=3)._replace(
        **{f"word_{number}": word for number, word in enumerate(words)}
    )
    return decode_pool(found, memoryview(octets).cast("q"))


def test_of_a_pool() -> None:
    """Threads add up; connections without a thread are queued; parked threads are idle.

    Requests are counted apart: a connection may have none, or several.
    """
    row = decoded_pool((10, 1, IDLE_HTTP2, 6), [700 - 1000, 50, 0], [5, 2, 0], [1000, 1, 2])
    assert (row.kind, row.measures_wait, row.capacity) == (Kind.GTHREAD, True, 3)
    assert (row.busy, row.in_flight, row.queued, row.begun) == (1, 0, 2, 6)
    assert (row.timed_busy, row.worked_ns, row.oldest_ns) == (1, 450 - 700, 1000)


def test_the_oldest_request_of_a_pool() -> None:
    """The busy thread that began first has the oldest request; None without a busy thread."""
    row = decoded_pool((3, 0, 0, 3), [-300, 5, -200], [1, 1, 1], [300, 100, 200])
    assert row.oldest_ns == 200
    assert decoded_pool((0, 0, 0, 0), [1, 2, 3], [0, 0, 0], [300, 100, 200]).oldest_ns is None


def test_threads_without_a_record() -> None:
    """Threads without a record are busy, with a request in flight; their time is not recorded."""
    row = decoded_pool((5, 3, 2 * OVERFLOW, 4), [-100, -100, 0], [1, 1, 0], [100, 100, 0])
    assert (row.busy, row.in_flight, row.queued, row.begun) == (4, 4, 0, 4)
    assert (row.timed_busy, row.worked_ns) == (2, -200)


def test_what_changes_while_it_is_read_is_never_negative() -> None:
    """A thread that is read as parked, then ends and begins again, yields no negative number."""
    row = decoded_pool((4, 0, IDLE_HTTP2, 0), [100, 0, 0], [5, 0, 0], [0, 0, 0])
    assert (row.busy, row.in_flight, row.queued) == (0, 0, 0)


def test_thread_rows_belong_to_the_later_claim() -> None:
    """The earlier worker has died, and the arbiter has not reaped it yet."""
    pools = [pool(1, 9, 0, claimed_ns=10), pool(2, 1, 3, claimed_ns=30), pool(3, 1, 6, 20)]
    assert [owner.pid for owner in pools_with_rows(pools, THREAD_ROWS)] == [2, 3]
    pools[0] = pool(1, 9, 0, claimed_ns=40)
    assert [owner.pid for owner in pools_with_rows(pools, THREAD_ROWS)] == [1, 3]


def test_thread_rows_that_do_not_exist_belong_to_no_pool() -> None:
    """The slot was overwritten."""
    pools = [pool(1, 8, THREAD_ROWS - 2), pool(2, 8, THREAD_ROWS - 3), pool(3, 1, 2**32 - 1)]
    assert [owner.pid for owner in pools_with_rows(pools, THREAD_ROWS)] == [2]
