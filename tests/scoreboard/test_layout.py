"""layout: offsets, by the tables of the docstrings and structs of the test's own."""

from __future__ import annotations

import os
import struct

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.layout import INFO_SIZE, Layout
from gunicorn_backlog.scoreboard.loop_row import BEAT_NS, PoolState
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import LEAVING, RECYCLED, SUBMITTED, TAKEN

SLOTS, THREAD_ROWS, COUNTERS = 3, 12, 264
SLOTS_AT = 64
THREAD_ROWS_AT = SLOTS_AT + 64 * SLOTS
LOOPS_AT = THREAD_ROWS_AT + 64 * THREAD_ROWS
DETAILS_AT = LOOPS_AT + 128 * SLOTS
WAITS_AT = DETAILS_AT + 64 * SLOTS
DELAYS_AT = WAITS_AT + 8 * COUNTERS * SLOTS
INFO_AT = DELAYS_AT + 8 * COUNTERS * SLOTS


def test_the_header() -> None:
    """Magic, version 3, the arbiter, the numbers of slots and rows, and no allocated slot."""
    header = Layout(SLOTS, THREAD_ROWS).header(1234)
    assert len(header) == SLOTS_AT
    fields = struct.unpack_from("=8sIIIIII", header)
    assert fields == (b"gubacklg", 3, 1234, SLOTS, THREAD_ROWS, 0, COUNTERS)
    assert header[32:] == bytes(32)


def test_regions() -> None:
    """The stores of the first slot's owner are at the tables' offsets, and only there."""
    scoreboard = Scoreboard(slots=SLOTS, thread_rows=THREAD_ROWS)
    memory = scoreboard._memory
    assert len(memory) == INFO_AT + INFO_SIZE
    slot = scoreboard.claim(os.getpid(), 7, Kind.GTHREAD, 9)
    slot.words[SUBMITTED] = 11
    slot.threads[8].words[TAKEN] = 12
    slot.count_wait(5)
    slot.details.write_socket(2, 3, 4, clock_ns=lambda: 70_000_000)
    assert struct.unpack_from("=II", memory, 12) == (os.getpid(), SLOTS)
    assert struct.unpack_from("=I", memory, 24) == (1,)
    pid, age, kind, _, capacity = struct.unpack_from("=IIHHI", memory, SLOTS_AT)
    assert (pid, age, kind, capacity) == (os.getpid(), 7, 2, 9)
    assert words(memory[SLOTS_AT + 24 : THREAD_ROWS_AT]) == {0: 11}
    # Two rows of work_ns come before.
    assert words(memory[THREAD_ROWS_AT:LOOPS_AT]) == {(2 * 8) + 8: 12}
    assert not any(memory[LOOPS_AT:DETAILS_AT])
    assert words(memory[DETAILS_AT:WAITS_AT]) == {3: 3 << 32 | 5 << 14 | 7}
    assert words(memory[WAITS_AT:DELAYS_AT]) == {5: 1}
    assert not any(memory[DELAYS_AT:])
    for note, state in (
        (slot.note_leaving, LEAVING),
        (slot.note_recycled, RECYCLED),
        (slot.note_leaving, RECYCLED),
    ):
        note()
        assert struct.unpack_from("=I", memory, SLOTS_AT + 60) == (state,)


def test_the_second_slot() -> None:
    """The second slot's loop row, waits and delays follow those of the first."""
    scoreboard = Scoreboard(slots=SLOTS, thread_rows=THREAD_ROWS)
    memory = scoreboard._memory
    scoreboard.claim(1, 1, Kind.SYNC, 1)  # pid 1 lives
    slot = scoreboard.claim(os.getpid(), 2, Kind.ASGI, 0)
    slot.count_wait(5)
    slot.delays[6] = 7
    slot.loop.words[BEAT_NS] = 8
    slot.loop.write_pools([None, PoolState(working=2, queued=3, capacity=40), None, None])
    assert words(memory[WAITS_AT:DELAYS_AT]) == {COUNTERS + 5: 1}
    assert words(memory[DELAYS_AT:]) == {COUNTERS + 6: 7}
    assert words(memory[LOOPS_AT:DETAILS_AT]) == {16 + 2: 8, 16 + 8: 2 << 32 | 3, 16 + 9: 41}


def words(octets: bytes) -> dict[int, int]:
    """Return the words other than 0, by number."""
    return {n: word for n, word in enumerate(memoryview(octets).cast("q").tolist()) if word}


def test_no_more_slots_are_allocated_than_exist() -> None:
    """A worker may have overwritten the header's number."""
    scoreboard = Scoreboard(slots=SLOTS, thread_rows=THREAD_ROWS)
    for claimed, seen in ((0, 0), (2, 2), (SLOTS + 1, SLOTS), (2**32 - 1, SLOTS)):
        struct.pack_into("=I", scoreboard._memory, 24, claimed)
        assert len(scoreboard.reader.claimed()) == seen
