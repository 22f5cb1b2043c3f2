"""Free slots and thread rows of the scoreboard, and the lock that an allocation holds."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import SlotRecord, thread_rows_for

_PID_MAX = 1 << 22  # PID_MAX_LIMIT in include/linux/threads.h
# Longest delay of a worker's start if the holder of the lock is stopped. On two cores this suffices
# for 300 simultaneous allocations; of 1,000 some fail, and their workers are not instrumented.
_PATIENCE_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05


class ClaimError(Exception):
    """No slot could be allocated."""


@contextmanager
def lock(fd: int) -> Iterator[None]:
    """Hold the lock of allocations on a file; the kernel releases a dead process's lock.

    Raises ClaimError after _PATIENCE_S seconds: the holder may be stopped.
    """
    until_s, pause_s = time.monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
    while not _is_locked(fd):
        if time.monotonic() > until_s:
            raise ClaimError("another worker holds the scoreboard's lock")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)  # the holder needs the processor
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def _is_locked(fd: int) -> bool:
    """Take the lock if no process holds it; return whether this process holds the lock."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both for "locked"
        return False
    return True


def dead(claimed: Sequence[SlotRecord]) -> set[tuple[int, int]]:
    """Return pid and age of dead owners; too slow to be called under the lock."""
    pids = {slot.pid for slot in claimed}
    gone = {pid for pid in pids if not _is_alive(pid)}
    return {(slot.pid, slot.age) for slot in claimed if slot.pid in gone}


def taken(
    claimed: Sequence[SlotRecord], pid: int, dead: Collection[tuple[int, int]]
) -> dict[int, SlotRecord]:
    """Return the slots with a living owner other than ``pid``, by index."""
    return {
        index: slot
        for index, slot in enumerate(claimed)
        if slot.pid not in (0, pid) and (slot.pid, slot.age) not in dead
    }


def free_slot(taken: Mapping[int, SlotRecord], slots: int) -> int:
    """Return the index of the first slot without an owner. Raises ClaimError."""
    for index in range(slots):
        if index not in taken:
            return index
    raise ClaimError(f"all {slots} slots of the scoreboard are taken")


def free_thread_rows(taken: Collection[SlotRecord], count: int, thread_rows: int) -> int:
    """Return the number of the first of ``count`` adjacent free thread rows. Raises ClaimError."""
    at = 0
    pools = [slot for slot in taken if slot.kind == Kind.GTHREAD]
    for pool in sorted(pools, key=lambda pool: pool.threads_at):
        if pool.threads_at - at >= count:
            break
        at = max(at, pool.threads_at + thread_rows_for(pool.capacity))
    if at + count > thread_rows:
        raise ClaimError(f"the scoreboard has no {count} thread rows left")
    return at


def _is_alive(pid: int) -> bool:
    if not 0 < pid <= _PID_MAX:  # not a pid: the slot was overwritten
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
