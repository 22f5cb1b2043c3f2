"""What of the scoreboard is free, and the lock under which a worker takes some of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from gunicorn_backlog.scoreboard.slot import Kind, SlotRecord, thread_rows_for

_PID_MAX = 1 << 22  # PID_MAX_LIMIT in include/linux/threads.h
# So much longer a worker's start may take, if who holds the lock was stopped. On two cores 300
# workers that claim at the same instant all have their turn; of 1,000 some don't: not watched.
_PATIENCE_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05


class ClaimError(Exception):
    """There is no slot to be had."""


@contextmanager
def lock(fd: int) -> Iterator[None]:
    """Hold the claimers' lock on a file; the kernel releases it if we die.

    Raises ClaimError rather than wait for ever for a claimer that was stopped.
    """
    until_s, pause_s = time.monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
    while not _is_locked(fd):
        if time.monotonic() > until_s:
            raise ClaimError("another worker holds the scoreboard's lock")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)  # whoever holds it needs the processor
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def _is_locked(fd: int) -> bool:
    """Take the lock if nobody has it; tell whether it is ours."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both for "locked"
        return False
    return True


def dead(claimed: Sequence[SlotRecord]) -> set[tuple[int, int]]:
    """Return pid and age of the owners that are dead; it takes long, so not under the lock."""
    pids = {line.pid for line in claimed}
    gone = {pid for pid in pids if not _is_alive(pid)}
    return {(line.pid, line.age) for line in claimed if line.pid in gone}


def taken(
    claimed: Sequence[SlotRecord], pid: int, dead: Collection[tuple[int, int]]
) -> dict[int, SlotRecord]:
    """Return the slots whose owners are not dead, by index; but for ours, of an earlier life."""
    return {
        index: line
        for index, line in enumerate(claimed)
        if line.pid not in (0, pid) and (line.pid, line.age) not in dead
    }


def free_slot(taken: Mapping[int, SlotRecord], slots: int) -> int:
    """Return the first slot that is nobody's. Raises ClaimError."""
    for index in range(slots):
        if index not in taken:
            return index
    raise ClaimError(f"all {slots} slots of the scoreboard are taken")


def free_thread_rows(taken: Collection[SlotRecord], count: int, thread_rows: int) -> int:
    """Return where so many lines in a row are nobody's. Raises ClaimError."""
    at = 0
    pools = [line for line in taken if line.kind == Kind.GTHREAD]
    for pool in sorted(pools, key=lambda it: it.threads_at):
        if pool.threads_at - at >= count:
            break
        at = max(at, pool.threads_at + thread_rows_for(pool.capacity))
    if at + count > thread_rows:
        raise ClaimError(f"the scoreboard has no {count} lines for threads left")
    return at


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
