"""Reads of the shared memory while workers write; this module never writes."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from struct import Struct

from gunicorn_backlog.scoreboard.detail_row import DETAIL_ROW, DetailState, decode_detail
from gunicorn_backlog.scoreboard.kind import HAS_LOOP, MEASURES_WAIT, Kind
from gunicorn_backlog.scoreboard.layout import COUNTERS, HISTOGRAM_SIZE, SLOTS_AT, Layout
from gunicorn_backlog.scoreboard.loop_row import LOOP_ROW
from gunicorn_backlog.scoreboard.slot import OWNER, ROW_SIZE, SLOT, SlotRecord
from gunicorn_backlog.scoreboard.wait_histogram import BUCKETS
from gunicorn_backlog.scoreboard.worker_row import (
    WorkerRow,
    WorkerRows,
    decode_pool,
    decode_slots,
    is_possible,
    pids_with_slot,
    pools_with_rows,
    thread_rows_end,
)

_COUNTERS = Struct(f"={COUNTERS}Q")
_TRIES = 10
_BEYOND = 1 << 8 * HISTOGRAM_SIZE


class Reader:
    """Reads slots, threads' records, and waits.

    Each record is copied twice; two equal copies are a consistent snapshot of a slot, or of all
    threads of a pool.
    """

    def __init__(self, memory: mmap.mmap, layout: Layout) -> None:
        self._memory = memory
        self._layout = layout
        # By histograms' offset and by slot: whether an owner's kind writes to the histogram.
        self._used: dict[int, list[bool]] = {}

    def read(self, running: Mapping[int, int]) -> WorkerRows:
        """Return the rows of the ``running`` workers (age by pid)."""
        claimed = self._layout.claimed(self._memory)
        octets, unsteady = self._copy(SLOTS_AT, claimed * ROW_SIZE)
        by_pid, pools = decode_slots(octets, running, partial(self._loop_rows, claimed))
        unread = [OWNER.unpack_from(octets, number * ROW_SIZE)[0] for number in unsteady]
        if pools:
            rows, unsteady_pools = self._read_pools(pools, running)
            by_pid |= rows
            unread += unsteady_pools
        if not unread and len(by_pid) == len(running):  # the usual case
            return WorkerRows(by_pid)
        unread += pids_with_slot(octets, running) - by_pid.keys()  # an overwritten slot has no row
        without_slot = running.keys() - by_pid.keys() - set(unread)
        unread = [pid for pid in unread if pid in running]
        read = {pid: row for pid, row in by_pid.items() if pid not in unread}
        return WorkerRows(read, sorted(without_slot), unread)

    def _read_pools(
        self, pools: Sequence[SlotRecord], running: Mapping[int, int]
    ) -> tuple[dict[int, WorkerRow], list[int]]:
        """Return the rows of gthread workers by pid, and the pids of those that keep changing."""
        owners = [
            pool
            for pool in pools_with_rows(pools, self._layout.thread_rows)
            if running.get(pool.pid) == pool.age
        ]
        size = thread_rows_end(owners[-1]) * ROW_SIZE if owners else 0
        pieces = ((pool.threads_at * ROW_SIZE, thread_rows_end(pool) * ROW_SIZE) for pool in owners)
        octets, unsteady = self._copy(self._layout.thread_rows_at, size, pieces)
        words = memoryview(octets).cast("q")
        rows = {pool.pid: decode_pool(pool, words) for pool in owners}
        possible = {pid: row for pid, row in rows.items() if is_possible(row)}
        return possible, [owners[number].pid for number in unsteady]

    def waits(self) -> tuple[int, ...]:
        """Return the sum of all slots' waits, by bucket; no sum ever decreases.

        Exception: if the memory was overwritten, the sums are arbitrary, modulo 2**64.
        """
        return self._sums(self._layout.waits_at, MEASURES_WAIT)

    def delays(self) -> tuple[int, ...]:
        """Return the sum of all slots' delays of event loops, by bucket, as ``waits``."""
        return self._sums(self._layout.delays_at, HAS_LOOP)

    def begun(self) -> int:
        """Return the number of requests handed to the app by all owners of all slots."""
        return sum([max(0, slot.word_3) for slot in self.claimed()])

    def find(self, pid: int, age: int) -> tuple[SlotRecord, DetailState] | None:
        """Return the slot and the detail row of a worker; None: the worker has no slot."""
        for index, slot in enumerate(self.claimed()):
            if slot.pid == pid and slot.age == age:
                at = self._layout.details_at + index * DETAIL_ROW.size
                return slot, decode_detail(self._memory[at : at + DETAIL_ROW.size])
        return None

    def details(self) -> list[tuple[SlotRecord, DetailState]]:
        """Return each slot that was ever allocated, with its detail row."""
        slots, at = self.claimed(), self._layout.details_at
        octets = self._memory[at : at + len(slots) * DETAIL_ROW.size]
        rows = range(0, len(octets), DETAIL_ROW.size)
        states = [decode_detail(octets[row : row + DETAIL_ROW.size]) for row in rows]
        return list(zip(slots, states, strict=True))

    def _loop_rows(self, slots: int) -> bytes:
        at = self._layout.loops_at
        return self._memory[at : at + slots * LOOP_ROW.size]

    def _sums(self, at: int, kinds: Collection[Kind]) -> tuple[int, ...]:
        """Return the sums of the histograms at ``at`` of all slots that had an owner of a kind."""
        used = self._used.setdefault(at, [])
        claimed = self._layout.claimed(self._memory)
        used += [False] * (claimed - len(used))
        if not all(used):  # a read of unused counters would allocate their pages
            for index, slot in enumerate(self.claimed()[: len(used)]):
                used[index] |= slot.kind in kinds
        # One addition of long integers adds all counters: no valid one overflows its 64 bits.
        starts = range(at, at + claimed * HISTOGRAM_SIZE, HISTOGRAM_SIZE)
        total = sum(
            int.from_bytes(self._memory[start : start + HISTOGRAM_SIZE], sys.byteorder)
            for start, is_used in zip(starts, used, strict=False)
            if is_used
        )
        octets = (total % _BEYOND).to_bytes(HISTOGRAM_SIZE, sys.byteorder)
        return _COUNTERS.unpack(octets)[:BUCKETS]

    def claimed(self) -> list[SlotRecord]:
        """Return the current records of all slots that were ever allocated."""
        end = SLOTS_AT + self._layout.claimed(self._memory) * ROW_SIZE
        return [SlotRecord._make(slot) for slot in SLOT.iter_unpack(self._memory[SLOTS_AT:end])]

    def _copy(
        self, at: int, size: int, pieces: Iterable[tuple[int, int]] | None = None
    ) -> tuple[bytes | bytearray, Collection[int]]:
        """Return a copy of ``size`` bytes at ``at``, and the numbers of pieces that keep changing.

        :param pieces: offsets of begin and end of each record; None: each row is one.
        """
        first, second = self._memory[at : at + size], self._memory[at : at + size]
        if first == second:
            return first, ()
        copy, unsteady = bytearray(first), []
        for number, (begin, end) in enumerate(pieces or _rows(size)):
            if first[begin:end] != second[begin:end]:
                steady = self._steady(at + begin, at + end)
                if steady is None:
                    unsteady.append(number)
                else:
                    copy[begin:end] = steady
        return copy, unsteady

    def _steady(self, begin: int, end: int) -> bytes | None:
        """Return the first copy that equals its predecessor; None after _TRIES copies."""
        former = self._memory[begin:end]
        for _ in range(_TRIES):
            copy = self._memory[begin:end]
            if copy == former:
                return copy
            former = copy
        return None


def _rows(size: int) -> Iterable[tuple[int, int]]:
    return zip(range(0, size, ROW_SIZE), range(ROW_SIZE, size + 1, ROW_SIZE), strict=True)
