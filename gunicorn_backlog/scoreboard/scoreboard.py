"""The shared memory in which each worker says what it is doing, laid out as ``layout`` says.

Created by the arbiter before the first worker is forked, mapped shared by all, and gone with the
last process that maps it, see ``shared_memory``. A worker claims its slot when it is up; nobody
releases any. The slot and the lines of a dead process are free. Its waits stay counted: whoever
claims the slot next goes on from there.
"""

from __future__ import annotations

import os
import time

from gunicorn_backlog.scoreboard import allocation, shared_memory
from gunicorn_backlog.scoreboard.layout import (
    ABOUT_SIZE,
    SLOTS,
    SLOTS_AT,
    THREAD_ROWS,
    WAITS_SIZE,
    Layout,
    write_claimed,
)
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.slot import (
    NO_THREAD_ROWS,
    OWNER,
    ROW_SIZE,
    SLOT,
    Kind,
    Slot,
    thread_rows_for,
)


class Scoreboard:
    """All slots. The arbiter creates it and reads; a worker, forked from it, claims one."""

    def __init__(self, *, slots: int = SLOTS, thread_rows: int = THREAD_ROWS) -> None:
        """Create the shared memory. Raises OSError."""
        self._layout = Layout(slots, thread_rows)
        self._fd, self._memory = shared_memory.create("gunicorn_backlog", self._layout.size)
        self._memory[:SLOTS_AT] = self._layout.header(os.getpid())
        self._mine: list[Slot] = []
        self._told: ServerInfo | None = None
        self.reader = Reader(self._memory, self._layout)

    def claim(
        self, pid: int, age: int, kind: Kind, capacity: int, *, measures_wait: bool = False
    ) -> Slot:
        """Take a slot whose owner is dead or none, and a record for each thread of a pool.

        Raises ClaimError.
        """
        threads = capacity if kind == Kind.GTHREAD else 0
        dead = allocation.dead(self.reader.claimed())
        with allocation.lock(self._fd):
            claimed = self.reader.claimed()
            taken = allocation.taken(claimed, pid, dead)
            index = allocation.free_slot(taken, self._layout.slots)
            at = allocation.free_thread_rows(
                taken.values(), thread_rows_for(threads), self._layout.thread_rows
            )
            owner = pid, age, kind, measures_wait, capacity, time.monotonic_ns()
            self._disown([number for number, line in enumerate(claimed) if line.pid == pid])
            slot = self._slot(kind, index, SLOT.pack(*owner, 0, 0, 0, 0, at), threads, at)
            write_claimed(self._memory, max(len(claimed), index + 1))
        self._mine.append(slot)
        return slot

    def publish(self, about: ServerInfo) -> None:
        """In the arbiter: say this of it, if it is news."""
        if about != self._told:
            self._layout.write_about(self._memory, about.encode(ABOUT_SIZE))
            self._told = about

    def detach(self) -> None:
        """Write what has been claimed to nowhere from now on: in a process that forked, say."""
        for slot in self._mine:
            slot.detach()

    def _disown(self, slots: list[int]) -> None:
        """Leave no slot behind that says it is ours: of an earlier claim, or an earlier life."""
        for index in slots:
            at = SLOTS_AT + index * ROW_SIZE
            self._memory[at : at + OWNER.size] = bytes(OWNER.size)

    def _slot(
        self, kind: Kind, index: int, owned: bytes, threads: int, thread_rows_at: int
    ) -> Slot:
        """Write a slot: pid and age at last, for they say that the rest is there."""
        memory = memoryview(self._memory)
        at, waits_at = SLOTS_AT + index * ROW_SIZE, self._layout.waits_at + index * WAITS_SIZE
        line = memory[at : at + ROW_SIZE]
        line[: OWNER.size] = bytes(OWNER.size)
        thread_rows = NO_THREAD_ROWS
        if threads:
            begin = self._layout.thread_rows_at + thread_rows_at * ROW_SIZE
            thread_rows = memory[begin : begin + thread_rows_for(threads) * ROW_SIZE]
            thread_rows[:] = bytes(len(thread_rows))
        line[OWNER.size :] = owned[OWNER.size :]
        line[: OWNER.size] = owned[: OWNER.size]
        return Slot(kind, line, memory[waits_at : waits_at + WAITS_SIZE], threads, thread_rows)
