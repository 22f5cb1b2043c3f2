"""What workers say of themselves: columns of numbers, in which each worker has its place.

A thousand numbers in a list add up sooner than ten objects are made: all that a sample does for
each worker it does for a whole column.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gunicorn_backlog.slot import LINE_SIZE, UNSEEN, WORDS_OF_LINE, Kind, Line, lines_of


class Owners(NamedTuple):
    """Whose the slots are: what changes only with a claim, or when a worker comes or goes.

    Each column has the workers in the order of their kinds; ``places`` says where those of a kind
    are. Not among them are, by their pids, those that run and have no slot, and pools whose lines
    are someone else's: they have died, and the arbiter does not know it yet.
    """

    slots: Sequence[int] = ()
    pids: Sequence[int] = ()
    tells_waits: Sequence[int] = ()
    capacities: Sequence[int] = ()
    claimed_ns: Sequence[int] = ()
    threads: Sequence[ThreadLines] = ()  # of the pools only
    places: Mapping[int, slice] = {}
    without_slot: Sequence[int] = ()
    without_lines: Sequence[int] = ()

    @property
    def seen(self) -> int:
        """How many of them tell what they do."""
        unseen = [len(self.pids[at]) for kind, at in self.places.items() if kind in UNSEEN]
        return len(self.pids) - sum(unseen)


class ThreadLines(NamedTuple):
    """Where the lines of a pool's threads begin and end, in bytes from the first of all lines.

    And where among their words, from the same place on, each of them has which.
    """

    begin: int
    end: int
    work_ns: slice
    begun: slice
    since_ns: slice


class State(NamedTuple):
    """What one worker said of itself last: a row of ``States``.

    ``in_use`` is how many requests or connections it is at, ``timed`` how many of those have a
    record. At any ``now_ns`` since, ``worked_ns + timed * now_ns`` is the time that it worked.
    """

    kind: int
    tells_waits: bool
    capacity: int
    claimed_ns: int
    in_use: int
    in_flight: int
    queued: int
    begun: int
    timed: int
    worked_ns: int


class Columns(NamedTuple):
    """What workers do, an entry of each for each worker; see ``State``."""

    in_use: Sequence[int] = ()
    in_flight: Sequence[int] = ()
    queued: Sequence[int] = ()
    begun: Sequence[int] = ()
    timed: Sequence[int] = ()
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
        return sum(self.columns.worked_ns) + sum(self.columns.timed) * now_ns

    def rows(self) -> dict[int, State]:
        """Return the state of each worker that was read, by pid."""
        owners = self.owners
        kinds = [kind for kind, at in owners.places.items() for _ in range(at.start, at.stop)]
        fixed = kinds, map(bool, owners.tells_waits), owners.capacities, owners.claimed_ns
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
    record: Sequence[int], work_ns: Sequence[int], begun: Sequence[int]
) -> tuple[int, int, int, int, int, int]:
    """Return a row of the columns: that of a pool, with what its threads' records say."""
    handed, back, parked, surplus = record
    timed, taken = sum(map((0).__gt__, work_ns)), sum(begun)
    in_use = timed + surplus
    # Words are read one after the other: what changed meanwhile is not to go below zero.
    in_flight, queued = max(0, in_use - parked), max(0, handed - back - taken)
    return in_use, in_flight, queued, taken, timed, sum(work_ns)


def owners_of(claimed: Sequence[Line], running: Mapping[int, int], lines: int) -> Owners:
    """Return whose of the ``running`` workers (age by pid) the claimed slots are.

    :param lines: how many there are for threads.
    """
    theirs = _with_lines(claimed, lines)
    by_pid = {
        line.pid: (line.kind, slot, line)
        for slot, line in enumerate(claimed)
        if running.get(line.pid) == line.age
    }
    lost = [
        pid
        for pid, (_, slot, line) in by_pid.items()
        if line.kind == Kind.POOL and slot not in theirs
    ]
    without_slot = running.keys() - by_pid.keys()
    for pid in lost:
        del by_pid[pid]
    found = [line for _, _, line in sorted(by_pid.values())]
    kinds = [line.kind for line in found]
    return Owners(
        slots=[slot for _, slot, _ in sorted(by_pid.values())],
        pids=[line.pid for line in found],
        tells_waits=[line.tells_waits for line in found],
        capacities=[line.capacity for line in found],
        claimed_ns=[line.claimed_ns for line in found],
        threads=[_threads_of(line) for line in found if line.kind == Kind.POOL],
        places={
            kind: slice(kinds.index(kind), kinds.index(kind) + kinds.count(kind))
            for kind in dict.fromkeys(kinds)
        },
        without_slot=sorted(without_slot),
        without_lines=lost,
    )


def _with_lines(claimed: Sequence[Line], lines: int) -> set[int]:
    """Return the slots of the pools whose lines are theirs: of two that overlap, the later's.

    Not those where there are no lines: who claims such has run amok.
    """
    pools = [(line, slot) for slot, line in enumerate(claimed) if line.kind == Kind.POOL]
    theirs: list[tuple[Line, int]] = []
    for line, slot in sorted(pools, key=lambda it: it[0].threads_at):
        if _end_of_threads(line) > lines:
            continue
        if not theirs or line.threads_at >= _end_of_threads(theirs[-1][0]):
            theirs.append((line, slot))
        elif line.claimed_ns > theirs[-1][0].claimed_ns:
            theirs[-1] = line, slot
    return {slot for _, slot in theirs}


def _end_of_threads(line: Line) -> int:
    return line.threads_at + lines_of(line.capacity) if line.kind == Kind.POOL else 0


def _threads_of(line: Line) -> ThreadLines:
    work_at = line.threads_at * WORDS_OF_LINE
    words = lines_of(line.capacity) // 3 * WORDS_OF_LINE  # of each number
    begun_at, since_at = work_at + words, work_at + 2 * words
    return ThreadLines(
        line.threads_at * LINE_SIZE,
        _end_of_threads(line) * LINE_SIZE,
        slice(work_at, work_at + line.capacity),
        slice(begun_at, begun_at + line.capacity),
        slice(since_at, since_at + line.capacity),
    )
