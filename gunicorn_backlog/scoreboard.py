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
20      4     slot_size       64 bytes
24      4     claimed         slots ever claimed, from the first; a worker, under the lock
28      36    (padding)
64      --    slots           one after the other, see ``slot``; each is written by its owner
--      --    waits           of each slot one after the other, WAITS counters of 8 bytes: how many
                              requests waited how long, see ``waits``; the rest of them is padding
======  ====  ==============  ===================================================================

A worker claims its slots when it is up; nobody releases any. The slots of a dead process are free.
Its waits stay counted: whoever claims the slot next goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from gunicorn_backlog import shared_memory
from gunicorn_backlog.slot import OWNER, SLOT, TELLING, Kind, Line, Slot, State, is_whole, state_of

MAGIC = b"gubacklg"
VERSION = 1
SLOTS = 16384  # untouched ones take no memory
WAITS = 264  # counters of a slot, whole cache lines

_HEADER = struct.Struct("=8sIIIII36x")
_CLAIMED = struct.Struct("=I")
_CLAIMED_AT = 24
_COUNTERS = struct.Struct(f"={WAITS}Q")

_WAITS_SIZE = 8 * WAITS
_PID_MAX = 1 << 22  # PID_MAX_LIMIT in include/linux/threads.h
_READ_TRIES = 10
_LOCK_TRIES = 100
_LOCK_PAUSE_S = 0.01


class ScoreboardError(Exception):
    """There is no scoreboard, or no slot in it, to be had."""


class Scoreboard:
    """All slots. The arbiter creates it and reads; a worker, forked from it, claims some."""

    def __init__(self, *, slots: int = SLOTS) -> None:
        """Create the shared memory. Raises OSError."""
        self._waits_at = _HEADER.size + slots * SLOT.size
        size = self._waits_at + slots * _WAITS_SIZE
        self._slots = slots
        self._fd, self._memory = shared_memory.create("gunicorn_backlog", size)
        header = _HEADER.pack(MAGIC, VERSION, os.getpid(), slots, SLOT.size, 0)
        self._memory[: _HEADER.size] = header
        self._mine: list[Slot] = []
        self._telling: list[bool] = []  # of each slot: whether waits were ever counted in it

    def claim(
        self,
        pid: int,
        age: int,
        wanted: Sequence[tuple[Kind, int]],
        *,
        tells_waits: bool = False,
    ) -> list[Slot]:
        """Take a slot for each kind and capacity, of those whose owner is dead or none.

        They are written in this order. Raises ScoreboardError.
        """
        with self._lock():
            indices = self._free(pid, len(wanted))
            now_ns = time.monotonic_ns()
            slots = [
                self._slot(index, (pid, age, kind, tells_waits, capacity, now_ns))
                for index, (kind, capacity) in zip(indices, wanted, strict=True)
            ]
            claimed = max(self._claimed(), max(indices) + 1)
            self._memory[_CLAIMED_AT : _CLAIMED_AT + _CLAIMED.size] = _CLAIMED.pack(claimed)
        self._mine += slots
        return slots

    def mute(self) -> None:
        """Write what has been claimed to nowhere from now on: in a process that forked, say."""
        for slot in self._mine:
            slot.mute()

    def read(self, running: Mapping[int, int]) -> dict[int, State | None]:
        """Return the states of the ``running`` workers (age by pid), by pid.

        A worker that has claimed no slot yet has no entry. One of whom a slot stays inconsistent,
        as if it was killed in the middle of a write, has None.

        Slots are read twice: parts of two changes could have the right sum, but not both times, for
        what is counted in them only grows.
        """
        lines: dict[int, list[Line]] = {}
        torn = set()
        end = _HEADER.size + self._claimed() * SLOT.size
        taken = self._memory[_HEADER.size : end]
        again = self._memory[_HEADER.size : end]
        settled = taken == again
        for index, fields in enumerate(SLOT.iter_unpack(taken)):
            pid = fields[0]
            if running.get(pid) != fields[1]:
                continue
            at = index * SLOT.size
            if is_whole(fields) and (
                settled or taken[at : at + SLOT.size] == again[at : at + SLOT.size]
            ):
                line: Line | None = Line._make(fields)
            else:
                line = self._read_again(index)
            if line is None or running.get(line.pid) != line.age:
                torn.add(pid)
            else:
                lines.setdefault(pid, []).append(line)
        states = {pid: state_of(its) for pid, its in lines.items() if pid not in torn}
        return {pid: state for pid, state in states.items() if state} | dict.fromkeys(torn)

    def waits(self) -> tuple[int, ...]:
        """Return the counters of all slots together: only ever greater, whoever claims them."""
        self._telling += [False] * (self._claimed() - len(self._telling))
        for index, telling in enumerate(self._telling):
            if not telling:  # a thread counts with its pool: its own counters are left untouched
                at = _HEADER.size + index * SLOT.size
                self._telling[index] = SLOT.unpack_from(self._memory, at)[2] in TELLING
        # Each counter has 64 bits of a long number: added up, none reaches into the next.
        starts = range(self._waits_at, len(self._memory), _WAITS_SIZE)
        total = sum(
            int.from_bytes(self._memory[at : at + _WAITS_SIZE], sys.byteorder)
            for at, telling in zip(starts, self._telling, strict=False)
            if telling
        )
        return _COUNTERS.unpack(total.to_bytes(_WAITS_SIZE, sys.byteorder))

    def _slot(self, index: int, owner: tuple[int, ...]) -> Slot:
        memory = memoryview(self._memory)
        at, waits_at = _HEADER.size + index * SLOT.size, self._waits_at + index * _WAITS_SIZE
        return Slot(memory[at : at + SLOT.size], memory[waits_at : waits_at + _WAITS_SIZE], owner)

    def _read_again(self, index: int) -> Line | None:
        at = _HEADER.size + index * SLOT.size
        for _ in range(_READ_TRIES):
            taken, again = self._memory[at : at + SLOT.size], self._memory[at : at + SLOT.size]
            fields = SLOT.unpack(taken)
            if taken == again and is_whole(fields):
                return Line._make(fields)
        return None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the claimers' lock; the kernel releases it if we die.

        Raises ScoreboardError rather than wait for ever for a claimer that was stopped.
        """
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):  # POSIX allows both for "locked"
                time.sleep(_LOCK_PAUSE_S)
        else:
            raise ScoreboardError("another worker holds the scoreboard's lock")
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _free(self, pid: int, count: int) -> list[int]:
        """Return that many slots that are nobody's: or ours, of an earlier life."""
        alive: dict[int, bool] = {pid: False}
        free = []
        for index in range(self._claimed()):
            owner, _ = OWNER.unpack_from(self._memory, _HEADER.size + index * SLOT.size)
            if owner not in alive:
                alive[owner] = _is_alive(owner)
            if not alive[owner]:
                free.append(index)
        free += range(self._claimed(), self._slots)[: max(0, count - len(free))]
        if len(free) < count:
            raise ScoreboardError(f"all {self._slots} slots of the scoreboard are taken")
        return free[:count]

    def _claimed(self) -> int:
        (claimed,) = _CLAIMED.unpack_from(self._memory, _CLAIMED_AT)
        return min(int(claimed), self._slots)  # a worker that ran amok may have written it


def _is_alive(pid: int) -> bool:
    if not 0 < pid <= _PID_MAX:  # nobody's, whatever a worker that ran amok wrote there
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
