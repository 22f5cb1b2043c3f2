"""The shared memory in which each worker says what it is doing.

Created by the arbiter before the first worker is forked, mapped shared by all, and gone with the
last process that maps it, see ``shared_memory``. All numbers are in the machine's byte order, the
layout is that of version 1:

======  ====  ==============  ===================================================================
offset  size  field           meaning, and who writes it
======  ====  ==============  ===================================================================
0       8     magic           ``b"gubacklg"``; the header is the arbiter's, written once
8       4     version         1
12      4     arbiter_pid
16      4     slots           how many slots follow
20      4     lines           how many lines for threads follow them
24      4     claimed         slots ever claimed, from the first; a worker, under the lock
28      4     counters        how many counters each slot's waits have
32      32    (padding)
64      --    slots           one after the other, 64 bytes each, see ``slot``
--      --    lines           of 64 bytes, of threads: a pool's one after the other
--      --    waits           of each slot one after the other, counters of 8 bytes: how many
                              requests waited how long, see ``waits``; the rest of them is padding
======  ====  ==============  ===================================================================

A worker claims its slot when it is up; nobody releases any. The slot and the lines of a dead
process are free. Its waits stay counted: whoever claims the slot next goes on from there.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Mapping

from gunicorn_backlog import claims, shared_memory
from gunicorn_backlog.slot import (
    LINE_SIZE,
    NO_LINES,
    SLOT,
    TELLING,
    Kind,
    Line,
    Slot,
    State,
    lines_of,
    state_of,
)

MAGIC = b"gubacklg"
VERSION = 1
SLOTS = 8192  # untouched ones take no memory, nor do lines
LINES = 65536
COUNTERS = 264  # of a slot's waits, whole cache lines

_HEADER = struct.Struct("=8sIIIIII32x")
_CLAIMED = struct.Struct("=I")
_CLAIMED_AT = 24
_COUNTERS = struct.Struct(f"={COUNTERS}Q")
_KIND_AT = 8

_WAITS_SIZE = 8 * COUNTERS
_READ_TRIES = 10


class Scoreboard:
    """All slots. The arbiter creates it and reads; a worker, forked from it, claims one."""

    def __init__(self, *, slots: int = SLOTS, lines: int = LINES) -> None:
        """Create the shared memory. Raises OSError."""
        self._slots, self._lines = slots, lines
        self._lines_at = _HEADER.size + slots * SLOT.size
        self._waits_at = self._lines_at + lines * LINE_SIZE
        size = self._waits_at + slots * _WAITS_SIZE
        self._fd, self._memory = shared_memory.create("gunicorn_backlog", size)
        header = _HEADER.pack(MAGIC, VERSION, os.getpid(), slots, lines, 0, COUNTERS)
        self._memory[: _HEADER.size] = header
        self._mine: list[Slot] = []
        self._telling: list[bool] = []  # of each slot: whether waits were ever counted in it

    def claim(
        self, pid: int, age: int, kind: Kind, capacity: int, *, tells_waits: bool = False
    ) -> Slot:
        """Take a slot whose owner is dead or none, and a record for each thread of a pool.

        Raises ClaimError.
        """
        threads = capacity if kind == Kind.POOL else 0
        with claims.lock(self._fd):
            taken = claims.taken(self._claimed_lines(), pid)
            index = claims.free_slot(taken, self._slots)
            at = claims.free_lines(taken.values(), lines_of(threads), self._lines)
            owner = pid, age, kind, tells_waits, capacity, time.monotonic_ns()
            slot = self._slot(kind, index, SLOT.pack(*owner, 0, 0, 0, 0, at), threads, at)
            claimed = max(self._claimed(), index + 1)
            self._memory[_CLAIMED_AT : _CLAIMED_AT + _CLAIMED.size] = _CLAIMED.pack(claimed)
        self._mine.append(slot)
        return slot

    def mute(self) -> None:
        """Write what has been claimed to nowhere from now on: in a process that forked, say."""
        for slot in self._mine:
            slot.mute()

    def read(self, running: Mapping[int, int]) -> dict[int, State | None]:
        """Return the states of the ``running`` workers (age by pid), by pid.

        A worker that has claimed no slot yet has no entry. One of whom a slot changes for as long
        as it is read, again and again, has None.

        What two reads find alike is as it was between the two: a slot's numbers belong together.
        """
        states: dict[int, State | None] = {}
        end = _HEADER.size + self._claimed() * SLOT.size
        taken, again = self._memory[_HEADER.size : end], self._memory[_HEADER.size : end]
        settled = taken == again
        for index, fields in enumerate(SLOT.iter_unpack(taken)):
            pid = fields[0]
            if running.get(pid) != fields[1]:
                continue
            at = index * SLOT.size
            if settled or taken[at : at + SLOT.size] == again[at : at + SLOT.size]:
                states[pid] = self._state(Line._make(fields))
            else:
                states[pid] = self._read_again(_HEADER.size + at, running)
        return states

    def waits(self) -> tuple[int, ...]:
        """Return the counters of all slots together: only ever greater, whoever claims them."""
        self._telling += [False] * (self._claimed() - len(self._telling))
        for index, telling in enumerate(self._telling):
            if not telling:  # counters that nobody counts in are left untouched
                kind = self._memory[_HEADER.size + index * SLOT.size + _KIND_AT]
                self._telling[index] = kind in TELLING
        # Each counter has 64 bits of a long number: added up, none reaches into the next.
        starts = range(self._waits_at, len(self._memory), _WAITS_SIZE)
        total = sum(
            int.from_bytes(self._memory[at : at + _WAITS_SIZE], sys.byteorder)
            for at, telling in zip(starts, self._telling, strict=False)
            if telling
        )
        return _COUNTERS.unpack(total.to_bytes(_WAITS_SIZE, sys.byteorder))

    def _state(self, line: Line) -> State | None:
        if line.kind != Kind.POOL:
            return state_of(line)
        lines = lines_of(line.capacity)
        if line.threads_at + lines > self._lines:  # a worker that ran amok wrote it
            return None
        words = self._steady(self._lines_at + line.threads_at * LINE_SIZE, lines)
        return None if words is None else state_of(line, memoryview(words).cast("q").tolist())

    def _read_again(self, at: int, running: Mapping[int, int]) -> State | None:
        fields = self._steady(at, 1)
        line = None if fields is None else Line._make(SLOT.unpack(fields))
        return self._state(line) if line and running.get(line.pid) == line.age else None

    def _steady(self, at: int, lines: int) -> bytes | None:
        """Return lines as two reads in a row found them, if any of the next reads do."""
        end = at + lines * LINE_SIZE
        taken = self._memory[at:end]
        for _ in range(_READ_TRIES):
            again = self._memory[at:end]
            if again == taken:
                return taken
            taken = again
        return None

    def _slot(self, kind: Kind, index: int, owned: bytes, threads: int, lines_at: int) -> Slot:
        """Write a slot: pid and age at last, for they say that the rest is there."""
        memory = memoryview(self._memory)
        at, waits_at = _HEADER.size + index * SLOT.size, self._waits_at + index * _WAITS_SIZE
        line = memory[at : at + SLOT.size]
        line[:8] = bytes(8)
        lines = NO_LINES
        if threads:
            begin = self._lines_at + lines_at * LINE_SIZE
            lines = memory[begin : begin + lines_of(threads) * LINE_SIZE]
            lines[:] = bytes(len(lines))
        line[8:] = owned[8:]
        line[:8] = owned[:8]
        return Slot(kind, line, memory[waits_at : waits_at + _WAITS_SIZE], threads, lines)

    def _claimed_lines(self) -> list[Line]:
        end = _HEADER.size + self._claimed() * SLOT.size
        return [Line._make(it) for it in SLOT.iter_unpack(self._memory[_HEADER.size : end])]

    def _claimed(self) -> int:
        (claimed,) = _CLAIMED.unpack_from(self._memory, _CLAIMED_AT)
        return min(int(claimed), self._slots)  # a worker that ran amok may have written it
