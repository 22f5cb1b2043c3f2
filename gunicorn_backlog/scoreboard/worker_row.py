"""Rows: the state of one worker, decoded from its slot and its threads' records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from gunicorn_backlog.scoreboard.kind import GTHREAD, LOOP_KINDS, SYNC, Kind
from gunicorn_backlog.scoreboard.loop_row import LOOP_ROW, LoopState, decode_loop
from gunicorn_backlog.scoreboard.slot import (
    OVERFLOW,
    SLOT,
    WORDS_PER_ROW,
    SlotRecord,
    thread_rows_for,
)

MOST = 1 << 24  # requests, threads or connections of one worker; only an overwritten word has more
_LAST_KIND = max(Kind)


@dataclass(slots=True)
class WorkerRow:
    """State of one worker; not changed after decoding.

    Creation takes 0.3 µs; that of a frozen dataclass takes 1.4 µs. The fields of a NamedTuple take
    three times as long to read.

    kind: the slot's ``Kind``, as a plain number.
    measures_wait: 1 if the worker measures the wait of each request, 0 if not.
    capacity: requests at a time; 0: unbounded.
    claimed_ns: time of the slot's allocation, CLOCK_MONOTONIC.
    busy: busy connections or threads; without a capacity the requests in flight.
    in_flight: requests in flight.
    queued: connections that wait for a thread of the pool.
    begun: requests handed to the app by all owners of the slot.
    timed_busy: the part of ``busy`` whose working time is recorded.
    worked_ns: time worked, less ``timed_busy`` times the clock; see ``worked_by``.
    oldest_ns: time at which the head of the oldest request in flight was parsed, CLOCK_MONOTONIC;
        None: no request, or not recorded.
    starts_ns: of a pool, the starts of all requests, as ``oldest_ns``.
    leaving: LEAVING or RECYCLED; 0: the worker accepts connections.
    loop: the event loop; None: the kind has none.
    """

    kind: int
    measures_wait: int
    capacity: int
    claimed_ns: int
    busy: int
    in_flight: int
    queued: int
    begun: int
    timed_busy: int
    worked_ns: int
    oldest_ns: int | None = None
    leaving: int = 0
    loop: LoopState | None = None
    starts_ns: tuple[int, ...] = ()

    def worked_by(self, now_ns: int) -> int:
        """Return the nanoseconds that the worker has worked until ``now_ns``."""
        return self.worked_ns + self.timed_busy * now_ns


class WorkerRows(NamedTuple):
    """State of all running workers.

    by_pid: the row of each worker that was read.
    without_slot: pids of the workers without a slot.
    unread: pids of the workers whose slot or threads' records are not readable.
    """

    by_pid: Mapping[int, WorkerRow]
    without_slot: Sequence[int] = ()
    unread: Collection[int] = ()


def decode_slots(
    octets: bytes | bytearray, running: Mapping[int, int], loop_rows: Callable[[], bytes]
) -> tuple[dict[int, WorkerRow], list[SlotRecord]]:
    """Return the rows of running workers (age by pid) by pid, and all slots of gthread workers.

    A slot with an impossible value was overwritten, and has no row. Inlined: with a function for
    each slot the loop takes 10 % longer.

    :param loop_rows: returns the loop rows of all slots; called if a worker has an event loop.
    """
    rows, pools = {}, []
    loops = None
    for index, slot in enumerate(SLOT.iter_unpack(octets)):
        pid, age, kind, waits, capacity, claimed_ns, word, _, since_ns, begun, _, leaving = slot
        if kind == GTHREAD:
            pools.append(SlotRecord._make(slot))
        elif running.get(pid) != age:
            continue
        elif kind == SYNC:
            if capacity == 1:  # the word is the time worked
                busy, oldest_ns = (1, since_ns or None) if word < 0 else (0, None)
                rows[pid] = WorkerRow(
                    kind, waits, 1, claimed_ns, busy, busy, 0, begun, busy, word, oldest_ns, leaving
                )
        elif 0 <= word <= MOST and kind <= _LAST_KIND:  # the word is the requests in flight
            loop = None
            if kind in LOOP_KINDS:
                loops = loops or loop_rows()
                loop = decode_loop(loops, index * LOOP_ROW.size)
            fixed, oldest_ns = (kind, waits, capacity, claimed_ns), since_ns or None
            rows[pid] = WorkerRow(*fixed, word, word, 0, begun, 0, 0, oldest_ns, leaving, loop)
    return rows, pools


def decode_pool(pool: SlotRecord, words: memoryview) -> WorkerRow:
    """Return the row of a gthread worker.

    :param words: of all thread rows.
    """
    _, _, kind, waits, capacity, claimed_ns, *words_of_pool, rows_at, leaving = pool
    submitted, returned, aside, begun = words_of_pool
    step = thread_rows_for(capacity) // 3 * WORDS_PER_ROW
    work_at = rows_at * WORDS_PER_ROW
    taken_at, since_at = work_at + step, work_at + 2 * step
    work_ns = words[work_at : work_at + capacity].tolist()
    taken = words[taken_at : taken_at + capacity].tolist()
    timed_busy = len([ns for ns in work_ns if ns < 0])
    starts_ns: tuple[int, ...] = ()
    if timed_busy:
        since_ns = words[since_at : since_at + capacity].tolist()
        starts_ns = tuple([ns for ns, work in zip(since_ns, work_ns, strict=True) if work < 0 < ns])
    overflow, idle_http2 = divmod(aside, OVERFLOW)
    busy = timed_busy + overflow
    # Words are read one after the other: a change in between could give a negative number.
    in_flight, queued = max(0, busy - idle_http2), max(0, submitted - returned - sum(taken))
    fixed, work = (kind, waits, capacity, claimed_ns), (timed_busy, sum(work_ns))
    oldest_ns = min(starts_ns, default=None)
    return WorkerRow(
        *(*fixed, busy, in_flight, queued, begun, *work, oldest_ns, leaving), starts_ns=starts_ns
    )


def is_possible(pool: WorkerRow) -> bool:
    """Return whether a pool's row has possible numbers; others were overwritten."""
    return pool.capacity > 0 and 0 <= pool.busy <= MOST and pool.queued <= MOST


def pids_with_slot(octets: bytes | bytearray, running: Mapping[int, int]) -> set[int]:
    """Return the pids of the running workers (age by pid) that own a slot."""
    slots = SLOT.iter_unpack(octets)
    return {pid for pid, age, *_ in slots if running.get(pid) == age}


def thread_rows_end(pool: SlotRecord) -> int:
    """Return the number of the first thread row behind a pool's rows."""
    return pool.threads_at + thread_rows_for(pool.capacity)


def pools_with_rows(pools: Iterable[SlotRecord], thread_rows: int) -> list[SlotRecord]:
    """Return the gthread slots that own their thread rows.

    Of two overlapping slots the later allocation owns the rows: the other worker is dead, but not
    reaped yet. A slot whose rows end behind ``thread_rows`` was overwritten, and owns none.
    """
    owners: list[SlotRecord] = []
    end = 0
    for pool in sorted(pools, key=attrgetter("threads_at")):
        pool_end = thread_rows_end(pool)
        if pool_end > thread_rows:
            continue
        if pool.threads_at >= end:
            owners.append(pool)
            end = pool_end
        elif pool.claimed_ns > owners[-1].claimed_ns:
            owners[-1] = pool
            end = pool_end
    return owners
