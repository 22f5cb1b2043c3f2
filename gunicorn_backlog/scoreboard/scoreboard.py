"""The shared memory in which workers record their state; see ``layout`` for its bytes.

The arbiter creates the memory before the first fork, and all workers inherit the mapping, see
``shared_memory``. A worker allocates its slot in ``post_worker_init``. Slots are never released:
the slot and the thread rows of a dead process are free. The next owner of a slot continues its
waits, delays and ``begun``.
"""

from __future__ import annotations

import os
import time

from gunicorn_backlog.scoreboard import allocation, shared_memory
from gunicorn_backlog.scoreboard.detail_row import DETAIL_ROW, SOCKETS
from gunicorn_backlog.scoreboard.kind import HAS_LOOP, Kind
from gunicorn_backlog.scoreboard.layout import (
    INFO_SIZE,
    SLOTS,
    SLOTS_AT,
    THREAD_ROWS,
    Layout,
    write_claimed,
)
from gunicorn_backlog.scoreboard.loop_row import LOOP_ROW
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.slot import (
    NO_THREAD_ROWS,
    OWNER,
    ROW_SIZE,
    SLOT,
    Slot,
    SlotRecord,
    thread_rows_for,
)


class Scoreboard:
    """All slots. The arbiter creates and reads them; each worker allocates one of them.

    reader: of the shared memory.
    """

    def __init__(self, *, slots: int = SLOTS, thread_rows: int = THREAD_ROWS) -> None:
        """Create the shared memory. Raises OSError."""
        self._layout = Layout(slots, thread_rows)
        self._fd, self._memory = shared_memory.create("gunicorn_backlog", self._layout.size)
        self._memory[:SLOTS_AT] = self._layout.header(os.getpid())
        self._mine: list[Slot] = []
        self._published: ServerInfo | None = None
        self.reader = Reader(self._memory, self._layout)

    def claim(self, pid: int, age: int, kind: Kind, capacity: int) -> Slot:
        """Allocate a slot without a living owner, and a record for each thread of a pool.

        Raises ClaimError. For the parameters see the fields in ``slot``.
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
            begun = claimed[index].word_3 if index < len(claimed) else 0
            owner = pid, age, kind, False, capacity, time.monotonic_ns()
            self._disown([number for number, slot in enumerate(claimed) if slot.pid == pid])
            slot = self._slot(kind, index, SlotRecord(*owner, 0, 0, 0, max(0, begun), at, 0))
            write_claimed(self._memory, max(len(claimed), index + 1))
        self._mine.append(slot)
        return slot

    def publish(self, info: ServerInfo) -> None:
        """Write a server info that changed; for the arbiter only. Raises ServerInfoError."""
        if info != self._published:
            self._layout.write_info(self._memory, info.encode(INFO_SIZE))
            self._published = info

    def detach(self) -> None:
        """Store nothing in the shared memory from now on, as in a worker's child."""
        for slot in self._mine:
            slot.detach()

    def _disown(self, slots: list[int]) -> None:
        """Clear pid and age of slots with our pid, from an earlier allocation or a dead process."""
        for index in slots:
            at = SLOTS_AT + index * ROW_SIZE
            self._memory[at : at + OWNER.size] = bytes(OWNER.size)

    def _slot(self, kind: Kind, index: int, owned: SlotRecord) -> Slot:
        """Write a slot; pid and age come last, since they make the slot valid."""
        memory = memoryview(self._memory)
        rows = self._layout.rows(memory, index)
        slot, octets = rows.slot, SLOT.pack(*owned)
        slot[: OWNER.size] = bytes(OWNER.size)
        threads, thread_rows = 0, NO_THREAD_ROWS
        if kind == Kind.GTHREAD:
            threads = owned.capacity
            begin = self._layout.thread_rows_at + owned.threads_at * ROW_SIZE
            thread_rows = memory[begin : begin + thread_rows_for(threads) * ROW_SIZE]
            thread_rows[:] = bytes(len(thread_rows))
        if kind in HAS_LOOP:  # the rows of other kinds are never read, and take no memory
            rows.loop[:] = bytes(LOOP_ROW.size)
        rows.details[:] = DETAIL_ROW.pack(owned.word_3, *[0] * SOCKETS)
        slot[OWNER.size :] = octets[OWNER.size :]
        slot[: OWNER.size] = octets[: OWNER.size]
        return Slot(kind, rows, threads, thread_rows)
