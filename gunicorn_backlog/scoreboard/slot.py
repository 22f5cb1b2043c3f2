"""A slot of the scoreboard: the state of one worker.

All numbers are in the machine's byte order. A slot is one cache line, written by its owner only.
Its loop row, detail row, waits and delays lie in other regions, see ``layout``:

======  ====  ==============  ===================================================================
offset  size  field           meaning; the allocation writes all fields
======  ====  ==============  ===================================================================
0       4     pid             the owner's; 0: no owner
4       4     age             gunicorn's number of the worker; unlike a pid never reused
8       2     kind            the worker's instrumentation, see ``kind``
10      2     measures_wait   1: the wait of each request is measured
12      4     capacity        requests at a time: 1, the pool's threads; 0: unbounded
16      8     claimed_ns      time of the allocation
24      32    (a record)      four words, see below
56      4     threads_at      of a pool: its first thread row
60      4     leaving         LEAVING or RECYCLED; 0: the worker accepts connections
======  ====  ==============  ===================================================================

The record of ``Kind.SYNC`` and of each thread of a pool, which serve one connection at a time:

=====  =========  ================================================================================
word   field      meaning
=====  =========  ================================================================================
0      work_ns    idle: time worked; busy: time worked before, less the time at which the
                  connection was taken, hence below 0
1      taken      number of times that a connection was taken; 0 in a sync worker's slot
2      since_ns   time at which the head of the latest request was parsed; 0: not yet
3      begun      requests handed to the app; unused in a thread's record
=====  =========  ================================================================================

The record of a pool, ``Kind.GTHREAD``:

=====  =========  ================================================================================
0      submitted  connections submitted to the pool
1      returned   submitted connections that no thread with a record took
2      aside      OVERFLOW for each busy thread without a record, IDLE_HTTP2 for each thread
                  that waits for the next request of an HTTP/2 connection
3      begun      requests handed to the app
=====  =========  ================================================================================

The record of all other kinds:

=====  =========  ================================================================================
0      in_flight  requests in flight
2      since_ns   start of the oldest request in flight; 0: none
3      begun      requests handed to the app
=====  =========  ================================================================================

The records of a pool's threads are in thread rows of eight words: ``work_ns`` of all threads in the
first rows, then ``taken``, then ``since_ns``. Clocks are CLOCK_MONOTONIC in nanoseconds, the same
in every process of the machine. A word is written by one store: no reader reads half a word. One
word gives the busy state and the time worked. ``begun`` is cumulative: the next owner of the slot
goes on from the same number. A number from several words, for example a pool's
queue, is clipped at 0. Writers keep their numbers in local state, and only store them. A
stray write by another worker raises nothing, and the next store repairs the word.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from gunicorn_backlog._threads.unpatched import original
from gunicorn_backlog.scoreboard.detail_row import DetailRow
from gunicorn_backlog.scoreboard.kind import HAS_LOOP, MULTITHREADED, Kind
from gunicorn_backlog.scoreboard.loop_row import LoopRow

SLOT = struct.Struct("=IIHHIQqqqqII")
ROW_SIZE = SLOT.size  # bytes, of a slot and of a thread row
OWNER = struct.Struct("=II")  # pid, age
WORDS_PER_ROW = 8

# Words of a record of one connection at a time
WORK_NS, TAKEN, SINCE_NS, BEGUN = range(4)
# Words of a record of any number of requests, with BEGUN
IN_FLIGHT = 0  # and SINCE_NS
# Words of a pool's record, with BEGUN
SUBMITTED, RETURNED, ASIDE = range(3)
# Amounts that one thread adds to ASIDE
IDLE_HTTP2, OVERFLOW = 1, 1 << 32

# LEAVING: the worker accepts no more connections. RECYCLED: the worker has served its
# ``max_requests``, and exits for this reason.
LEAVING, RECYCLED = 1, 2

NO_THREAD_ROWS = memoryview(b"")

_RECORD = slice(24, 56)
_MEASURES_WAIT = slice(10, 12)
_LEAVING = slice(60, 64)
_NONSENSE = 1 << 63  # only an overwritten counter reaches this


class Record:
    """A record, for its owner.

    words: the words in the shared memory.
    worked_ns, taken: the owner's copies of words.
    """

    __slots__ = ("taken", "words", "worked_ns")

    def __init__(self, words: memoryview) -> None:
        self.words = words
        self.worked_ns = self.taken = 0

    def detach(self) -> None:
        """Store nothing in the shared memory from now on, as in a child of the owner."""
        self.words = memoryview(bytearray(8 * len(self.words))).cast("q")


class SlotRows(NamedTuple):
    """The bytes of one slot in each region of the shared memory except the thread rows."""

    slot: memoryview
    loop: memoryview
    details: memoryview
    waits: memoryview
    delays: memoryview


class Slot(Record):
    """A slot, for its owner.

    numbers: the owner's copy of ``words``.
    waits: the histogram in the shared memory; includes the waits of the slot's former owners.
    counters: the owner's copy of ``waits``.
    delays, delay_counters: of the worker's event loop, as ``waits`` and ``counters``.
    loop: the slot's loop row.
    details: the slot's detail row.
    threads: the records of a pool's threads.
    shared: several threads write to the slot.
    lock: held by each of these writers; an OS lock, also after a gevent patch. Only ``with`` may
        take the lock: a signal handler that raises between ``lock.acquire()`` and ``try`` would
        leave the lock held.
    """

    __slots__ = (
        "_leaving",
        "_measures_wait",
        "counters",
        "delay_counters",
        "delays",
        "details",
        "lock",
        "loop",
        "numbers",
        "shared",
        "threads",
        "waits",
    )

    def __init__(
        self,
        kind: Kind,
        rows: SlotRows,
        threads: int = 0,
        thread_rows: memoryview = NO_THREAD_ROWS,
    ) -> None:
        """Wrap the bytes of a slot, and of the rows of its threads."""
        super().__init__(rows.slot[_RECORD].cast("q"))
        self.numbers = self.words.tolist()
        self._leaving = rows.slot[_LEAVING].cast("I")
        self._measures_wait = rows.slot[_MEASURES_WAIT].cast("H")
        self.shared = kind in MULTITHREADED
        self.lock = original("_thread", "allocate_lock")()
        self.waits, self.delays = rows.waits.cast("Q"), rows.delays.cast("Q")
        self.counters = _counters(self.waits)
        # A read allocates the page: not for workers without a loop.
        self.delay_counters = _counters(self.delays) if kind in HAS_LOOP else []
        self.loop, self.details = LoopRow(rows.loop.cast("q")), DetailRow(rows.details.cast("Q"))
        words, third = thread_rows.cast("q"), thread_rows_for(threads) * WORDS_PER_ROW // 3
        self.threads = [Record(words[number::third]) for number in range(threads)]

    def add(self, word: int, number: int) -> None:
        """Add a number to a word of the record."""
        with self.lock:
            self.numbers[word] += number
            self.words[word] = self.numbers[word]

    def count_wait(self, bucket: int) -> None:
        """Count a wait."""
        with self.lock:
            self.counters[bucket] += 1
            self.waits[bucket] = self.counters[bucket]

    def measure_waits(self) -> None:
        """Record that the wait of each request is measured from now on."""
        self._measures_wait[0] = 1

    # Without the lock: a signal handler may close the listening sockets.

    def note_leaving(self) -> None:
        """Record that the worker accepts no more connections."""
        self._leaving[0] = self._leaving[0] or LEAVING

    def note_recycled(self) -> None:
        """Record that the worker has served its ``max_requests``."""
        self._leaving[0] = RECYCLED

    def detach(self) -> None:
        """Store nothing in the shared memory from now on.

        Another thread may have held the lock at the fork; in the child there is no other thread.
        """
        super().detach()
        for record in self.threads:
            record.detach()
        self.loop.detach()
        self.details.detach()
        self._leaving = memoryview(bytearray(4)).cast("I")
        self._measures_wait = memoryview(bytearray(2)).cast("H")
        self.waits = memoryview(bytearray(self.waits.nbytes)).cast("Q")
        self.delays = memoryview(bytearray(self.delays.nbytes)).cast("Q")
        self.lock = original("_thread", "allocate_lock")()


def _counters(histogram: memoryview) -> list[int]:
    """Return a copy of a histogram's counters; an overwritten one is 0."""
    return [n if n < _NONSENSE else 0 for n in histogram.tolist()]


def thread_rows_for(threads: int) -> int:
    """Return the number of rows that a pool's threads need for their records."""
    return 3 * -(-threads // WORDS_PER_ROW)


class SlotRecord(NamedTuple):
    """The fields of a slot, for a reader; see the module's tables."""

    pid: int
    age: int
    kind: int
    measures_wait: int
    capacity: int
    claimed_ns: int
    word_0: int
    word_1: int
    word_2: int
    word_3: int
    threads_at: int
    leaving: int = 0
