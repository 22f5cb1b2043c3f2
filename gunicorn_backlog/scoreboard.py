"""The shared memory in which each worker says what it is doing.

Created by the arbiter before the first worker is forked, mapped shared by all: a memfd named
``gunicorn_backlog`` on Linux, elsewhere an unlinked temporary file. It has no name in any file
system, and is gone with the last process that maps it. All numbers are in the machine's byte
order, the layout is that of version 1:

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
64      --    slots           one after the other, each of them:
======  ====  ==============  ===================================================================

======  ====  ==============  ===================================================================
offset  size  field           meaning; all of a slot is written by the worker that claimed it
======  ====  ==============  ===================================================================
0       4     pid             the owner; 0: never claimed
4       4     age             gunicorn's number of the worker: a pid can come again, an age not
8       4     kind            index of the watcher's kind (see ``Kind``)
12      4     capacity        requests at a time; 0: unbounded
16      8     in_use          requests or threads at work now
24      8     worked_ns       time worked, up to the last change of in_use
32      8     changed_ns      when in_use changed last, on the clock below
40      8     begun           requests begun since the claim
48      8     queued          connections accepted that no thread has begun
56      8     check           the sum of the five before it
======  ====  ==============  ===================================================================

The last six are one record, written by one assignment. A reader may still see half of it (the
copy is not atomic): then the sum is wrong, and it reads again. Clocks are CLOCK_MONOTONIC in
nanoseconds, the same for every process of the machine.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

MAGIC = b"gubacklg"
VERSION = 1
SLOTS = 4096

_HEADER = struct.Struct("=8sIIIII36x")
_CLAIMED = struct.Struct("=I")
_CLAIMED_AT = 24
_OWNER = struct.Struct("=IIII")  # pid, age, kind, capacity
_RECORD = struct.Struct("=QQQQQQ")  # in_use, worked_ns, changed_ns, begun, queued, check
_SLOT = struct.Struct(_OWNER.format + _RECORD.format[1:])

_READ_TRIES = 10
_LOCK_TRIES = 100
_LOCK_PAUSE_S = 0.01


class ScoreboardError(Exception):
    """There is no scoreboard, or no slot in it, to be had."""


class Kind(IntEnum):
    """How a worker is watched; 0 says that its class is not known, so its states are not either."""

    UNKNOWN = 0
    SYNC = 1


class State(NamedTuple):
    """What one worker said of itself last: the fields of its slot, checked."""

    kind: int
    capacity: int
    in_use: int
    worked_ns: int
    changed_ns: int
    begun: int
    queued: int


class Slot:
    """One worker's slot. Only the process that claimed it writes, one thread at a time."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory: mmap.mmap | bytearray = memory
        self._at = offset + _OWNER.size
        self._end = offset + _SLOT.size

    def write(self, in_use: int, worked_ns: int, changed_ns: int, begun: int, queued: int) -> None:
        """Replace the record, in one assignment: ``pack_into`` would write zeros first."""
        check = in_use + worked_ns + changed_ns + begun + queued
        self._memory[self._at : self._end] = _RECORD.pack(
            in_use, worked_ns, changed_ns, begun, queued, check
        )

    def mute(self) -> None:
        """Write to nowhere from now on: in a process that the owner forked in its turn."""
        self._memory = bytearray(self._end)


class Scoreboard:
    """All slots. The arbiter creates it and reads; a worker, forked from it, claims a slot."""

    def __init__(self, *, slots: int = SLOTS) -> None:
        """Create the shared memory. Raises OSError."""
        size = _HEADER.size + slots * _SLOT.size
        self._slots = slots
        self._fd = _anonymous_file("gunicorn_backlog")
        try:
            os.ftruncate(self._fd, size)
            self._memory = mmap.mmap(self._fd, size)
        except OSError:
            os.close(self._fd)
            raise
        header = _HEADER.pack(MAGIC, VERSION, os.getpid(), slots, _SLOT.size, 0)
        self._memory[: _HEADER.size] = header
        self._offsets: dict[int, int] = {}  # of the slots found, by pid

    def claim(self, pid: int, age: int, kind: Kind, capacity: int) -> Slot:
        """Take the first slot whose owner is dead or none. Raises ScoreboardError."""
        with self._lock():
            offset = self._first_free(pid)
            slot = Slot(self._memory, offset)
            slot.write(0, 0, time.monotonic_ns(), 0, 0)
            self._memory[offset : offset + _OWNER.size] = _OWNER.pack(pid, age, kind, capacity)
            index = (offset - _HEADER.size) // _SLOT.size
            claimed = max(self._claimed(), index + 1)
            self._memory[_CLAIMED_AT : _CLAIMED_AT + _CLAIMED.size] = _CLAIMED.pack(claimed)
        return slot

    def read(self, running: Mapping[int, int]) -> dict[int, State | None]:
        """Return the states of the ``running`` workers (age by pid), by pid.

        A worker that has claimed no slot yet has no entry. One whose record stays inconsistent,
        as if it was killed in the middle of a write, has None.
        """
        self._find_slots(running)
        return {
            pid: self._read_slot(offset, pid, running[pid]) for pid, offset in self._offsets.items()
        }

    def _find_slots(self, running: Mapping[int, int]) -> None:
        """Bring the known offsets up to date: forget the dead, look for the new."""
        for pid in self._offsets.keys() - running.keys():
            del self._offsets[pid]
        if running.keys() == self._offsets.keys():
            return
        for offset in self._claimed_offsets():
            pid, age = self._owner(offset)
            if running.get(pid) == age:
                self._offsets[pid] = offset

    def _read_slot(self, offset: int, pid: int, age: int) -> State | None:
        for _ in range(_READ_TRIES):
            slot = self._memory[offset : offset + _SLOT.size]
            owner_pid, owner_age, kind, capacity, *record, check = _SLOT.unpack(slot)
            if sum(record) == check and (owner_pid, owner_age) == (pid, age):
                return State(kind, capacity, *record)
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

    def _first_free(self, pid: int) -> int:
        """Return a slot that is ours from an earlier life, or else the first of a dead owner."""
        owners = {self._owner(offset)[0]: offset for offset in reversed(self._claimed_offsets())}
        if pid in owners:
            return owners[pid]
        dead = [offset for owner, offset in owners.items() if not _is_alive(owner)]
        if dead:
            return min(dead)
        if self._claimed() == self._slots:
            raise ScoreboardError(f"all {self._slots} slots of the scoreboard are taken")
        return _HEADER.size + self._claimed() * _SLOT.size

    def _claimed(self) -> int:
        (claimed,) = _CLAIMED.unpack_from(self._memory, _CLAIMED_AT)
        return int(claimed)

    def _claimed_offsets(self) -> range:
        return range(_HEADER.size, _HEADER.size + self._claimed() * _SLOT.size, _SLOT.size)

    def _owner(self, offset: int) -> tuple[int, int]:
        pid, age, *_ = _OWNER.unpack_from(self._memory, offset)
        return pid, age


def _anonymous_file(name: str) -> int:
    """Return a descriptor of an empty file that no path leads to. Raises OSError."""
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError):  # not Linux; an old kernel; refused by seccomp
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
