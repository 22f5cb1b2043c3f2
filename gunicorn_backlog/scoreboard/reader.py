"""Read the shared memory beside its writers, and write nothing."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Collection, Iterable, Mapping
from struct import Struct

from gunicorn_backlog.scoreboard.layout import COUNTERS, SLOTS_AT, WAITS_SIZE, Layout
from gunicorn_backlog.scoreboard.owners import Owners, owners_of
from gunicorn_backlog.scoreboard.slot import (
    GTHREAD,
    LINE_SIZE,
    MEASURES_WAIT,
    SINCE_NS,
    SLOT,
    SYNC,
    WORDS_OF_CLAIM,
    WORDS_OF_LINE,
    WORK_NS,
    SlotRecord,
)
from gunicorn_backlog.scoreboard.states import Columns, States, columns_of
from gunicorn_backlog.scoreboard.wait_histogram import BUCKETS

_COUNTERS = Struct(f"={COUNTERS}Q")
_TRIES = 10
_NOTHING = b"", ()
_BEYOND = 1 << 8 * WAITS_SIZE


class Reader:
    """Reads slots, lines of threads, and waits.

    What two reads in a row find alike is as it was between the two: the numbers of a slot belong
    together, and so do those of a pool's threads.
    """

    def __init__(self, memory: mmap.mmap, layout: Layout) -> None:
        self._memory = memory
        self._layout = layout
        self._owners = Owners()
        self._claims: object = None  # what the owners were made of, with the workers that ran
        self._running: dict[int, int] = {}
        self._slots: bytes | bytearray = b""  # in which those claims were seen last
        self._found: object = None  # what the states were made of
        self._states = States(self._owners, Columns())
        self._telling: list[bool] = []  # of each slot: whether waits were ever counted in it

    def read(self, running: Mapping[int, int]) -> States:
        """Return what the ``running`` workers (age by pid) said last.

        Who has claimed no slot yet is in ``owners.without_slot``. Who changes its slot for as long
        as it is read, again and again, is ``unread``. As long as nobody says anything else, it is
        the same object.
        """
        slots, unsteady = self._take(SLOTS_AT, self._layout.claimed(self._memory) * LINE_SIZE)
        owners = self._owners
        if slots != self._slots or running != self._running:
            owners = self._owners_of(slots, running)
        pools, unsteady_pools = self._take_pools(owners) if owners.threads else _NOTHING
        found = owners, slots, unsteady, pools, unsteady_pools
        if found != self._found:
            unread = [*owners.without_lines, *_at(owners, unsteady)]
            unread += [owners.pids[owners.places[GTHREAD]][number] for number in unsteady_pools]
            self._states = States(owners, columns_of(owners, slots, pools), unread)
            self._found = found
        return self._states

    def began(self, owners: Owners) -> dict[int, int]:
        """Return when the oldest request of each worker at work began, CLOCK_MONOTONIC in ns.

        By pid, of the kinds whose records say it. What a worker changed meanwhile is as of now.
        """
        return self._began_of_sync(owners) | self._began_of_pools(owners)

    def _began_of_sync(self, owners: Owners) -> dict[int, int]:
        found = {}
        at = owners.places.get(SYNC, slice(0, 0))
        for pid, slot in zip(owners.pids[at], owners.slots[at], strict=True):
            begin = SLOTS_AT + slot * LINE_SIZE
            (line,) = _lines(self._memory[begin : begin + LINE_SIZE])
            if line.record[WORK_NS] < 0:
                found[pid] = line.record[SINCE_NS]
        return found

    def _began_of_pools(self, owners: Owners) -> dict[int, int]:
        found = {}
        begin, end = self._layout.thread_rows_at, max((it.end for it in owners.threads), default=0)
        words = memoryview(self._memory[begin : begin + end]).cast("q")
        pids = owners.pids[owners.places.get(GTHREAD, slice(0, 0))]
        for pid, threads in zip(pids, owners.threads, strict=True):
            records = zip(words[threads.work_ns], words[threads.since_ns], strict=True)
            if at_work := [since_ns for work_ns, since_ns in records if work_ns < 0]:
                found[pid] = min(at_work)
        return found

    def waits(self) -> tuple[int, ...]:
        """Return the counters of all slots together: only ever greater, whoever claims them.

        Unless a worker ran amok: then whatever it wrote, modulo 2**64.
        """
        claimed = self._layout.claimed(self._memory)
        self._telling += [False] * (claimed - len(self._telling))
        if not all(self._telling):  # counters that nobody counts in are left untouched
            for index, line in enumerate(self.claimed()[: len(self._telling)]):
                self._telling[index] |= line.kind in MEASURES_WAIT
        # Each counter has 64 bits of a long number: added up, no true one reaches into the next.
        starts = range(self._layout.waits_at, self._layout.about_at, WAITS_SIZE)
        total = sum(
            int.from_bytes(self._memory[at : at + WAITS_SIZE], sys.byteorder)
            for at, telling in zip(starts, self._telling, strict=False)
            if telling
        )
        octets = (total % _BEYOND).to_bytes(WAITS_SIZE, sys.byteorder)
        return _COUNTERS.unpack(octets)[:BUCKETS]

    def claimed(self) -> list[SlotRecord]:
        """Return all slots that were ever claimed, as they are now."""
        end = SLOTS_AT + self._layout.claimed(self._memory) * LINE_SIZE
        return _lines(self._memory[SLOTS_AT:end])

    def _owners_of(self, slots: bytes | bytearray, running: Mapping[int, int]) -> Owners:
        """Return the owners: the same object as long as workers and claims are the same."""
        words = memoryview(slots).cast("q")
        claims = [words[word::WORDS_OF_LINE].tobytes() for word in WORDS_OF_CLAIM]
        if claims != self._claims or running != self._running:
            self._claims, self._running = claims, dict(running)
            self._owners = owners_of(_lines(slots), running, self._layout.thread_rows)
        self._slots = slots
        return self._owners

    def _take_pools(self, owners: Owners) -> tuple[bytes | bytearray, Collection[int]]:
        """Return the lines of all threads, and the numbers of the pools that changed meanwhile."""
        pieces = [(threads.begin, threads.end) for threads in owners.threads]
        return self._take(self._layout.thread_rows_at, max(end for _, end in pieces), pieces)

    def _take(
        self, at: int, size: int, pieces: Iterable[tuple[int, int]] | None = None
    ) -> tuple[bytes | bytearray, Collection[int]]:
        """Return what is there, and the numbers of the pieces that changed whenever they were read.

        :param pieces: where each begins and ends, what of each belongs together; else each line.
        """
        taken, again = self._memory[at : at + size], self._memory[at : at + size]
        if taken == again:
            return taken, ()
        settled, unsteady = bytearray(taken), []
        for number, (begin, end) in enumerate(pieces or _pieces(size)):
            if taken[begin:end] != again[begin:end]:
                steady = self._steady(at + begin, at + end)
                if steady is None:
                    unsteady.append(number)
                else:
                    settled[begin:end] = steady
        return settled, unsteady

    def _steady(self, begin: int, end: int) -> bytes | None:
        """Return a piece as two reads in a row find it, if any of the next reads do."""
        taken = self._memory[begin:end]
        for _ in range(_TRIES):
            again = self._memory[begin:end]
            if again == taken:
                return taken
            taken = again
        return None


def _pieces(size: int) -> Iterable[tuple[int, int]]:
    return zip(range(0, size, LINE_SIZE), range(LINE_SIZE, size + 1, LINE_SIZE), strict=True)


def _lines(slots: bytes | bytearray) -> list[SlotRecord]:
    return [SlotRecord._make(it) for it in SLOT.iter_unpack(slots)]


def _at(owners: Owners, slots: Collection[int]) -> list[int]:
    """Return the pids of those that own one of these slots."""
    return [pid for pid, slot in zip(owners.pids, owners.slots, strict=True) if slot in slots]
