"""layout: offsets, by the table of the docstring and an independent struct of the test."""

from __future__ import annotations

import os
import struct

from gunicorn_backlog.scoreboard.layout import INFO_SIZE, Layout
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import SUBMITTED, TAKEN, Kind

SLOTS, LINES, COUNTERS = 3, 12, 264
SLOTS_AT = 64
LINES_AT = SLOTS_AT + 64 * SLOTS
WAITS_AT = LINES_AT + 64 * LINES


def test_the_header() -> None:
    """The header has magic, version 2, creator, numbers of slots and rows, and no claims."""
    header = Layout(SLOTS, LINES).header(1234)
    assert len(header) == SLOTS_AT
    fields = struct.unpack_from("=8sIIIIII", header)
    assert fields == (b"gubacklg", 2, 1234, SLOTS, LINES, 0, COUNTERS)
    assert header[32:] == bytes(32)


def test_slots_then_lines_then_waits() -> None:
    """The first owner's stores are at the offsets of the tables, and nowhere else."""
    scoreboard = Scoreboard(slots=SLOTS, thread_rows=LINES)
    memory = scoreboard._memory
    assert len(memory) == WAITS_AT + SLOTS * 8 * COUNTERS + INFO_SIZE
    slot = scoreboard.claim(os.getpid(), 7, Kind.GTHREAD, 9)
    slot.words[SUBMITTED] = 11
    slot.threads[8].words[TAKEN] = 12
    slot.count_wait(5)
    assert struct.unpack_from("=II", memory, 12) == (os.getpid(), SLOTS)
    assert struct.unpack_from("=I", memory, 24) == (1,)
    pid, age, kind, _, capacity = struct.unpack_from("=IIHHI", memory, SLOTS_AT)
    assert (pid, age, kind, capacity) == (os.getpid(), 7, 2, 9)
    assert words(memory[SLOTS_AT + 24 : LINES_AT]) == {0: 11}
    assert words(memory[LINES_AT:WAITS_AT]) == {(2 * 8) + 8: 12}  # behind two rows of work_ns
    assert words(memory[WAITS_AT:]) == {5: 1}


def test_waits_of_the_second_slot() -> None:
    """The second slot's waits follow those of the first."""
    scoreboard = Scoreboard(slots=SLOTS, thread_rows=LINES)
    scoreboard.claim(1, 1, Kind.SYNC, 1)  # by a living process
    scoreboard.claim(os.getpid(), 2, Kind.SYNC, 1).count_wait(5)
    assert words(scoreboard._memory[WAITS_AT:]) == {COUNTERS + 5: 1}


def words(octets: bytes) -> dict[int, int]:
    """Return the words other than 0, by number."""
    return {n: word for n, word in enumerate(memoryview(octets).cast("q").tolist()) if word}


def test_no_more_is_claimed_than_there_is() -> None:
    """A number of claims beyond the slots is not believed."""
    scoreboard = Scoreboard(slots=SLOTS, thread_rows=LINES)
    for claimed, seen in ((0, 0), (2, 2), (SLOTS + 1, SLOTS), (2**32 - 1, SLOTS)):
        struct.pack_into("=I", scoreboard._memory, 24, claimed)
        assert len(scoreboard.reader.claimed()) == seen
