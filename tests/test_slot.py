"""slot: what is written by its owner."""

from __future__ import annotations

import pytest

from gunicorn_backlog.slot import (
    BEGUN,
    HANDED,
    LINE_SIZE,
    SINCE_NS,
    SLOT,
    SURPLUS,
    WORK_NS,
    Kind,
    Record,
    Slot,
    lines_of,
)
from gunicorn_backlog.workers.counting import timed


def test_a_slot_is_one_cache_line() -> None:
    """No two owners write to the same."""
    assert SLOT.size == LINE_SIZE == 64


@pytest.mark.parametrize(("threads", "lines"), [(0, 0), (1, 3), (8, 3), (9, 6), (128, 48)])
def test_lines_of_threads(threads: int, lines: int) -> None:
    """Eight of them have three lines."""
    assert lines_of(threads) == lines


def test_records_of_threads_lie_apart() -> None:
    """Each word of each is one of its own, that of the same meaning side by side."""
    memory, own = (memoryview(bytearray(lines * LINE_SIZE)) for lines in (6, 1))
    slot = Slot(Kind.POOL, own, own, 9, memory)
    for number, record in enumerate(slot.threads):
        record.words[WORK_NS] = 1 + number
        record.words[BEGUN] = 101 + number
        record.words[SINCE_NS] = 201 + number
    words = memory.cast("q").tolist()
    assert words[:9] == [*range(1, 10)]
    assert words[16:25] == [*range(101, 110)]
    assert words[32:41] == [*range(201, 210)]
    assert sum(map(bool, words)) == 27


def test_a_record_is_free_again_after_a_signal_handler_raised() -> None:
    """What was broken off between begin and call is no work, and the next request is counted."""
    record = Record(memoryview(bytearray(24)).cast("q"))
    record.words[BEGUN], record.words[SINCE_NS], record.words[WORK_NS] = 3, 90, 40 - 90
    timed(int, record, clock_ns=iter((100, 200)).__next__)()
    assert record.words.tolist() == [40 + 100, 4, 100]


@pytest.mark.parametrize(("there", "added"), [(2**63 - 1, 1), (-(2**63), -1)])
def test_what_nothing_can_be_added_to_begins_anew(there: int, added: int) -> None:
    """Nothing is raised, the lock is free, and the next number is added to 0."""
    own = memoryview(bytearray(LINE_SIZE))
    slot = Slot(Kind.POOL, own, own)
    slot.words[HANDED], slot.words[SURPLUS] = 5, there
    slot.add(SURPLUS, added)
    assert slot.words.tolist() == [0, 0, 0, 0]
    assert not slot.lock.locked()
    slot.add(SURPLUS, 2)
    assert slot.words[SURPLUS] == 2
