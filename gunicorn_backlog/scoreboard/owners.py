"""Whose the slots are: it changes only with a claim, or when a worker comes or goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gunicorn_backlog.scoreboard.slot import (
    LINE_SIZE,
    STATE_UNKNOWN,
    WORDS_OF_LINE,
    Kind,
    SlotRecord,
    thread_rows_for,
)


class Owners(NamedTuple):
    """The owners of the slots.

    Each column has the workers in the order of their kinds; ``places`` says where those of a kind
    are. Not among them are, by their pids, those that run and have no slot, and pools whose lines
    are someone else's: they have died, and the arbiter does not know it yet.
    """

    slots: Sequence[int] = ()
    pids: Sequence[int] = ()
    measures_wait: Sequence[int] = ()
    capacities: Sequence[int] = ()
    claimed_ns: Sequence[int] = ()
    threads: Sequence[ThreadLines] = ()  # of the pools only
    places: Mapping[int, slice] = {}
    without_slot: Sequence[int] = ()
    without_lines: Sequence[int] = ()

    @property
    def seen(self) -> int:
        """How many of them tell what they do."""
        unseen = [len(self.pids[at]) for kind, at in self.places.items() if kind in STATE_UNKNOWN]
        return len(self.pids) - sum(unseen)


class ThreadLines(NamedTuple):
    """Where the lines of a pool's threads begin and end, in bytes from the first of all lines.

    And where among their words, from the same place on, each of them has which.
    """

    begin: int
    end: int
    work_ns: slice
    taken: slice
    since_ns: slice


def owners_of(
    claimed: Sequence[SlotRecord], running: Mapping[int, int], thread_rows: int
) -> Owners:
    """Return whose of the ``running`` workers (age by pid) the claimed slots are.

    :param thread_rows: how many there are for threads.
    """
    theirs = _with_lines(claimed, thread_rows)
    by_pid = {
        line.pid: (line.kind, slot, line)
        for slot, line in enumerate(claimed)
        if running.get(line.pid) == line.age
    }
    lost = [
        pid
        for pid, (_, slot, line) in by_pid.items()
        if line.kind == Kind.GTHREAD and slot not in theirs
    ]
    without_slot = running.keys() - by_pid.keys()
    for pid in lost:
        del by_pid[pid]
    found = [line for _, _, line in sorted(by_pid.values())]
    kinds = [line.kind for line in found]
    return Owners(
        slots=[slot for _, slot, _ in sorted(by_pid.values())],
        pids=[line.pid for line in found],
        measures_wait=[line.measures_wait for line in found],
        capacities=[line.capacity for line in found],
        claimed_ns=[line.claimed_ns for line in found],
        threads=[_threads_of(line) for line in found if line.kind == Kind.GTHREAD],
        places={
            kind: slice(kinds.index(kind), kinds.index(kind) + kinds.count(kind))
            for kind in dict.fromkeys(kinds)
        },
        without_slot=sorted(without_slot),
        without_lines=lost,
    )


def _with_lines(claimed: Sequence[SlotRecord], lines: int) -> set[int]:
    """Return the slots of the pools whose lines are theirs: of two that overlap, the later's.

    Not those where there are no lines: who claims such has run amok.
    """
    pools = [(line, slot) for slot, line in enumerate(claimed) if line.kind == Kind.GTHREAD]
    theirs: list[tuple[SlotRecord, int]] = []
    for line, slot in sorted(pools, key=lambda it: it[0].threads_at):
        if _end_of_threads(line) > lines:
            continue
        if not theirs or line.threads_at >= _end_of_threads(theirs[-1][0]):
            theirs.append((line, slot))
        elif line.claimed_ns > theirs[-1][0].claimed_ns:
            theirs[-1] = line, slot
    return {slot for _, slot in theirs}


def _end_of_threads(line: SlotRecord) -> int:
    return line.threads_at + thread_rows_for(line.capacity) if line.kind == Kind.GTHREAD else 0


def _threads_of(line: SlotRecord) -> ThreadLines:
    work_at = line.threads_at * WORDS_OF_LINE
    words = thread_rows_for(line.capacity) // 3 * WORDS_OF_LINE  # of each number
    taken_at, since_at = work_at + words, work_at + 2 * words
    return ThreadLines(
        line.threads_at * LINE_SIZE,
        _end_of_threads(line) * LINE_SIZE,
        slice(work_at, work_at + line.capacity),
        slice(taken_at, taken_at + line.capacity),
        slice(since_at, since_at + line.capacity),
    )
