"""slot: the owner's stores."""

from __future__ import annotations

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import (
    ASIDE,
    IDLE_HTTP2,
    OVERFLOW,
    ROW_SIZE,
    SINCE_NS,
    SLOT,
    SUBMITTED,
    TAKEN,
    WORK_NS,
    Record,
    Slot,
    SlotRows,
    thread_rows_for,
)
from gunicorn_backlog.workers.last_wait import LastWait
from gunicorn_backlog.workers.request_counters import track_busy_threads


def rows() -> SlotRows:
    """Return the bytes of a slot, all 0."""
    return SlotRows(*[memoryview(bytearray(2 * ROW_SIZE)) for _ in SlotRows._fields])


def test_a_slot_is_one_cache_line() -> None:
    """No two owners write to one cache line."""
    assert SLOT.size == ROW_SIZE == 64


@pytest.mark.parametrize(("threads", "lines"), [(0, 0), (1, 3), (8, 3), (9, 6), (128, 48)])
def test_lines_of_threads(threads: int, lines: int) -> None:
    """Eight threads need three rows."""
    assert thread_rows_for(threads) == lines


def test_records_of_threads_lie_apart() -> None:
    """Each thread has its own words; words of one meaning are adjacent."""
    memory = memoryview(bytearray(6 * ROW_SIZE))
    slot = Slot(Kind.GTHREAD, rows(), 9, memory)
    for number, record in enumerate(slot.threads):
        record.words[WORK_NS] = 1 + number
        record.words[TAKEN] = 101 + number
        record.words[SINCE_NS] = 201 + number
    words = memory.cast("q").tolist()
    assert words[:9] == [*range(1, 10)]
    assert words[16:25] == [*range(101, 110)]
    assert words[32:41] == [*range(201, 210)]
    assert sum(map(bool, words)) == 27


def test_a_record_goes_on_from_what_its_owner_wrote() -> None:
    """After a foreign store the next request stores the owner's numbers."""
    record = Record(memoryview(bytearray(24)).cast("q"))
    clock_ns = iter((100, 140, 200, 300)).__next__
    last_wait = LastWait(skips=False)
    handle = track_busy_threads(int, [record], last_wait, beyond=int, clock_ns=clock_ns)
    handle()
    record.words[TAKEN], record.words[SINCE_NS], record.words[WORK_NS] = 3, 90, 40 - 90
    handle()
    assert record.words.tolist() == [40 + 100, 2, 0]


@pytest.mark.parametrize("there", [2**63 - 1, -(2**63), 77])
def test_what_is_added_is_added_to_the_owners_number(there: int) -> None:
    """After a foreign store the sum is right; nothing is raised, and no other word changes."""
    slot = Slot(Kind.GTHREAD, rows())
    slot.words[SUBMITTED] = 5
    slot.add(ASIDE, OVERFLOW)
    slot.words[ASIDE] = there
    slot.add(ASIDE, IDLE_HTTP2)
    assert slot.words.tolist() == [5, 0, OVERFLOW + IDLE_HTTP2, 0]
    assert not slot.lock.locked()
    slot.add(ASIDE, -OVERFLOW)
    assert slot.words[ASIDE] == IDLE_HTTP2


@pytest.mark.parametrize("there", [0, 7, 2**63 - 2, 2**63, 2**64 - 1])
def test_counters_go_on_from_the_former_owners(there: int) -> None:
    """Counters continue from the former owner; an invalid one restarts from 0."""
    own = rows()
    own.waits.cast("Q")[5] = there
    slot = Slot(Kind.GTHREAD, own)
    slot.count_wait(5)
    slot.count_wait(5)
    assert slot.waits.tolist()[5] == (there if there < 2**63 else 0) + 2
    slot.waits[5] = 2**64 - 1  # a later foreign store
    slot.count_wait(5)
    assert slot.waits.tolist()[5] == (there if there < 2**63 else 0) + 3
