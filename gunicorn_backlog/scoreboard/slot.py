"""A slot of the scoreboard: what one worker says of itself.

All numbers are in the machine's byte order. A slot is one cache line, written by its owner only:

======  ====  ==============  ===================================================================
offset  size  field           meaning; the first six and the last are written by the claim
======  ====  ==============  ===================================================================
0       4     pid             the owner's; 0: never claimed
4       4     age             gunicorn's number of the worker: a pid can come again, an age not
8       2     kind            how the worker is watched, see ``Kind``
10      2     measures_wait   1: it can tell how long each of its requests waited
12      4     capacity        requests at a time: 1, a pool's threads; 0: unbounded
16      8     claimed_ns      when
24      32    (a record)      four numbers, see below
56      4     threads_at      of a pool: the line in which its threads' records begin
60      4     (padding)
======  ====  ==============  ===================================================================

The record of who serves one connection at a time, ``Kind.SYNC`` and each thread of a pool:

=====  =========  ================================================================================
word   field      meaning
=====  =========  ================================================================================
0      work_ns    idle: time worked; at work: that less the time at which it took the connection,
                  and so below 0
1      taken      connections taken, as often as each was
2      since_ns   when it took the latest of them
3      begun      requests handed to the app; not of a pool's thread, see the pool's
=====  =========  ================================================================================

of a pool, ``Kind.GTHREAD``:

=====  =========  ================================================================================
0      handed     connections handed to the pool
1      back       of those: the ones that no thread with a record took
2      aside      2**32 times the threads at work that have no record, SURPLUS each; and the
                  threads that wait for an HTTP/2 connection's next request, PARKED each
3      begun      requests handed to the app
=====  =========  ================================================================================

and of all others:

=====  =========  ================================================================================
0      in_flight  requests under way
3      begun      requests handed to the app
=====  =========  ================================================================================

A pool's threads have their records in lines of eight words: ``work_ns`` of all of them in the first
lines, then ``taken``, then ``since_ns``. Clocks are CLOCK_MONOTONIC in nanoseconds, the same for
every process of the machine. A word is written by one store: nobody can see it half written.
Whether a worker is at work, and for how long, comes from one word; what comes of several, a pool's
queue say, is never below 0. A writer keeps its numbers in a list of its own and only stores them:
a stray write by another worker raises nothing, and the next store repairs the word.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from gunicorn_backlog._threads.unpatched import original

SLOT = struct.Struct("=IIHHIQqqqqI4x")
ROW_SIZE = SLOT.size  # bytes, also of the lines of threads
OWNER = struct.Struct("=II")  # pid, age
WORDS_PER_ROW = 8

# The words of a record: of one connection at a time,
WORK_NS, TAKEN, SINCE_NS, BEGUN = range(4)
# of any number of requests (and BEGUN),
IN_FLIGHT = 0
# of a pool (and BEGUN),
SUBMITTED, RETURNED, ASIDE = range(3)
# and what one thread adds to ASIDE.
IDLE_HTTP2, OVERFLOW = 1, 1 << 32

NO_THREAD_ROWS = memoryview(b"")

_RECORD = slice(24, 56)
_NONSENSE = 1 << 63  # no counter comes to this, unless another worker wrote there


class Kind(IntEnum):
    """How a worker is watched.

    0 says that its class is not known, the last that watching it failed: so its states are not
    known either.
    """

    UNKNOWN = 0
    SYNC = 1
    GTHREAD = 2  # of gthread
    GREENLET = 3
    WSGI = 4
    ASGI = 5
    FAILED = 6


# As plain numbers, for what is done in each sample: an enumeration's members take Python 3.11
# three times as long to look up.
SYNC, GTHREAD = int(Kind.SYNC), int(Kind.GTHREAD)

STATE_UNKNOWN = frozenset({Kind.UNKNOWN, Kind.FAILED})
HAS_CAPACITY = frozenset({Kind.SYNC, Kind.GTHREAD})  # kinds of workers that have a capacity
MULTITHREADED = frozenset(
    {Kind.GTHREAD, Kind.WSGI}
)  # kinds of workers whose threads serve requests
MEASURES_WAIT = HAS_CAPACITY | {Kind.GREENLET}  # kinds that look how long requests waited


class Record:
    """The ``words`` of a record, for its owner."""

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def detach(self) -> None:
        """Write to nowhere from now on: in a process that the owner forked in its turn."""
        self.words = memoryview(bytearray(8 * len(self.words))).cast("q")


class Slot(Record):
    """The side of the owner: the record, and those of a pool's ``threads``.

    ``numbers`` are stored in the words, ``counters`` in ``waits``: the waits in each bucket. The
    slot's former owner counted there too. The slot is ``shared`` where several threads may write to
    the same; they hold ``lock``, a real one. Only ``with`` takes it: between ``lock.acquire()`` and
    ``try`` a signal handler may raise, and then the lock is never released.
    """

    __slots__ = ("counters", "lock", "numbers", "shared", "threads", "waits")

    def __init__(
        self,
        kind: Kind,
        line: memoryview,
        waits: memoryview,
        threads: int = 0,
        thread_rows: memoryview = NO_THREAD_ROWS,
    ) -> None:
        """Take a slot's line, its waits, and so many records in the lines of its threads."""
        super().__init__(line[_RECORD].cast("q"))
        self.numbers = [0] * len(self.words)
        self.shared = kind in MULTITHREADED
        self.lock = original("_thread", "allocate_lock")()
        self.waits = waits.cast("Q")
        self.counters = [n if n < _NONSENSE else 0 for n in self.waits.tolist()]
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

    def count_request(self, bucket: int) -> None:
        """Count a request and its wait."""
        with self.lock:
            self.numbers[BEGUN] = begun = self.numbers[BEGUN] + 1
            self.words[BEGUN] = begun
            self.counters[bucket] = waits = self.counters[bucket] + 1
            self.waits[bucket] = waits

    def detach(self) -> None:
        """Write to nowhere from now on.

        Another thread may have held the lock at the fork; in the child there is no other thread.
        """
        super().detach()
        for record in self.threads:
            record.detach()
        self.waits = memoryview(bytearray(self.waits.nbytes)).cast("Q")
        self.lock = original("_thread", "allocate_lock")()


def thread_rows_for(threads: int) -> int:
    """Return how many lines a pool's threads need for their records."""
    return 3 * -(-threads // WORDS_PER_ROW)


class SlotRecord(NamedTuple):
    """The side of the reader: a slot's fields."""

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
