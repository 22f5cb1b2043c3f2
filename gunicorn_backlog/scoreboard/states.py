"""What workers say of themselves: columns of numbers, in which each worker has its place.

A thousand numbers in a list add up sooner than ten objects are made: all that a sample does for
each worker it does for a whole column.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

from gunicorn_backlog.scoreboard.owners import Owners
from gunicorn_backlog.scoreboard.slot import (
    BEGUN,
    GTHREAD,
    OVERFLOW,
    SYNC,
    WORDS_OF_LINE,
    WORDS_OF_RECORD,
)


class State(NamedTuple):
    """What one worker said of itself last: a row of ``States``.

    ``busy`` is how many requests or connections it is at, ``timed_busy`` how many of those have a
    record. At any ``now_ns`` since, ``worked_ns + timed * now_ns`` is the time that it worked.
    """

    kind: int
    measures_wait: bool
    capacity: int
    claimed_ns: int
    busy: int
    in_flight: int
    queued: int
    begun: int
    timed_busy: int
    worked_ns: int


class Columns(NamedTuple):
    """What workers do, an entry of each for each worker; see ``State``."""

    busy: Sequence[int] = ()
    in_flight: Sequence[int] = ()
    queued: Sequence[int] = ()
    begun: Sequence[int] = ()
    timed_busy: Sequence[int] = ()
    worked_ns: Sequence[int] = ()


class States(NamedTuple):
    """What the owners of the slots said last.

    ``unread`` are the pids of those that changed as long as they were read: theirs is not so.
    """

    owners: Owners
    columns: Columns
    unread: Collection[int] = ()

    def worked_by(self, now_ns: int) -> int:
        """Return how long all of them together worked."""
        return sum(self.columns.worked_ns) + sum(self.columns.timed_busy) * now_ns

    def rows(self) -> dict[int, State]:
        """Return the state of each worker that was read, by pid."""
        owners = self.owners
        kinds = [kind for kind, at in owners.places.items() for _ in range(at.start, at.stop)]
        fixed = kinds, map(bool, owners.measures_wait), owners.capacities, owners.claimed_ns
        rows = map(State._make, zip(*fixed, *self.columns, strict=True))
        read = zip(owners.pids, rows, strict=True)
        return {pid: row for pid, row in read if pid not in self.unread}


def of_one_at_a_time(work_ns: Sequence[int], begun: Sequence[int]) -> Columns:
    """Return the columns of workers whose record is of one request at a time."""
    at_work = list(map((0).__gt__, work_ns))
    return Columns(at_work, at_work, [0] * len(begun), begun, at_work, work_ns)


def of_any_number(in_flight: Sequence[int], begun: Sequence[int]) -> Columns:
    """Return the columns of workers whose record is of any number of requests."""
    none = [0] * len(begun)
    return Columns(in_flight, in_flight, none, begun, none, none)


def of_pool(
    record: Sequence[int], work_ns: Sequence[int], taken: Sequence[int]
) -> tuple[int, int, int, int, int, int]:
    """Return a row of the columns: that of a pool, with what its threads' records say."""
    handed, back, aside, begun = record
    surplus, parked = divmod(aside, OVERFLOW)
    timed_busy = sum(map((0).__gt__, work_ns))
    busy = timed_busy + surplus
    # Words are read one after the other: what changed meanwhile is not to go below zero.
    in_flight, queued = max(0, busy - parked), max(0, handed - back - sum(taken))
    return busy, in_flight, queued, begun, timed_busy, sum(work_ns)


def columns_of(owners: Owners, slots: bytes | bytearray, pools: bytes | bytearray) -> Columns:
    """Return the columns of all owners, from the octets of the slots and of the pools' lines."""
    words = memoryview(slots).cast("q")
    record = [words[word::WORDS_OF_LINE].tolist() for word in WORDS_OF_RECORD]
    parts: list[Columns] = []
    for kind, at in owners.places.items():
        own = [[column[slot] for slot in owners.slots[at]] for column in record]
        if kind == GTHREAD:
            parts.append(_of_pools(own, owners, pools))
        else:
            of_records = of_one_at_a_time if kind == SYNC else of_any_number
            parts.append(of_records(own[0], own[BEGUN]))
    if len(parts) == 1:
        return parts[0]
    return Columns(*(list(chain.from_iterable(column)) for column in zip(*parts, strict=True)))


def _of_pools(record: list[list[int]], owners: Owners, lines: bytes | bytearray) -> Columns:
    words = memoryview(lines).cast("q")
    rows = [
        of_pool(own, words[threads.work_ns].tolist(), words[threads.taken].tolist())
        for *own, threads in zip(*record, owners.threads, strict=True)
    ]
    return Columns(*map(list, zip(*rows, strict=True)))
