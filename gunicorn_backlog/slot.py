"""A slot of the scoreboard: what one worker, or one of its threads, says of itself.

All numbers are in the machine's byte order. A slot is one cache line, and has one writer:

======  ====  ==============  ===================================================================
offset  size  field           meaning; the owner writes the first six when it claims the slot
======  ====  ==============  ===================================================================
0       4     pid             the owner's; 0: never claimed
4       4     age             gunicorn's number of the worker: a pid can come again, an age not
8       2     kind            how the worker is watched, see ``Kind``
10      2     tells_waits     1: it can tell how long each of its requests waited
12      4     capacity        requests at a time: 1, a pool's threads; 0: unbounded
16      8     claimed_ns      when
24      32    (a record)      of four numbers, see below
56      8     check           the sum of all ten before it
======  ====  ==============  ===================================================================

The record says of a pool of threads (``Kind.POOL``; each of its threads has a slot of its own):

======  ====  ==============  ===================================================================
24      8     handed          connections that were handed to the pool
32      8     parked          threads that wait for an HTTP/2 connection's next request
40      16    (zero)
======  ====  ==============  ===================================================================

and of everybody else:

======  ====  ==============  ===================================================================
24      8     begun           requests begun
32      8     ended           requests ended: what is begun and not ended is in use
40      8     worked_ns       time worked in the requests that ended
48      8     since_ns        when the latest request began
======  ====  ==============  ===================================================================

An owner without a capacity leaves the two times 0. Clocks are CLOCK_MONOTONIC in nanoseconds, the
same for every process of the machine. The numbers change one at a time, ``check`` last: whoever
reads in the midst of a change, in whatever order the processor shows it the stores, finds a wrong
sum; who reads through several has to read twice.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from gunicorn_backlog.unpatched import original

SLOT = struct.Struct("=IIHHIQQQQQQ")
OWNER = struct.Struct("=II")  # pid, age
RECORD_AT = 24

# The words of a record, and the check behind it.
BEGUN, ENDED, WORKED_NS, SINCE_NS, CHECK = range(5)
HANDED, PARKED = 0, 1


class Kind(IntEnum):
    """How a worker is watched; 0 says that its class is not known, so its states are not either."""

    UNKNOWN = 0
    SYNC = 1
    POOL = 2  # of gthread
    THREAD = 3  # of gthread's pool
    GREENLET = 4
    WSGI = 5
    ASGI = 6


BOUNDED = frozenset({Kind.SYNC, Kind.POOL})  # kinds of workers that have a capacity
TELLING = BOUNDED | {Kind.GREENLET}  # kinds that look how long requests waited


class Slot:
    """The side of the owner: the ``words`` of its record, and what its claim adds to the check.

    ``waits`` are counters, of the waits in each bucket; who had the slot before counted there too.
    One thread at a time may write; where several want to, they hold ``lock``, a real one.
    """

    __slots__ = ("lock", "seal", "waits", "words")

    def __init__(self, line: memoryview, waits: memoryview, owner: tuple[int, ...]) -> None:
        """Claim a line of SLOT.size bytes for the owner, whose six numbers come first in it."""
        self.lock = original("_thread", "allocate_lock")()
        self.seal = sum(owner)
        line[:] = SLOT.pack(*owner, 0, 0, 0, 0, self.seal)
        self.words = line[RECORD_AT:].cast("Q")
        self.waits = waits.cast("Q")

    def mute(self) -> None:
        """Write to nowhere from now on: in a process that the owner forked in its turn.

        Another thread may have held the lock at the fork; in the child there is no other thread.
        """
        self.words = memoryview(bytearray(SLOT.size - RECORD_AT)).cast("Q")
        self.waits = memoryview(bytearray(self.waits.nbytes)).cast("Q")
        self.lock = original("_thread", "allocate_lock")()


class Line(NamedTuple):
    """The side of the reader: a slot's fields."""

    pid: int
    age: int
    kind: int
    tells_waits: int
    capacity: int
    claimed_ns: int
    begun: int
    ended: int
    worked_ns: int
    since_ns: int
    check: int

    @property
    def handed(self) -> int:
        """Of a pool: the connections that it was handed."""
        return self.begun

    @property
    def parked(self) -> int:
        """Of a pool: its threads that wait for an HTTP/2 connection's next request."""
        return self.ended


class State(NamedTuple):
    """What one worker said of itself last.

    At any ``now_ns`` since, ``worked_ns + in_use * now_ns`` is the time that it worked.
    """

    kind: int
    tells_waits: bool
    capacity: int
    claimed_ns: int
    in_use: int
    in_flight: int
    queued: int
    begun: int
    worked_ns: int


def is_whole(line: tuple[int, ...]) -> bool:
    """Tell whether a slot's fields belong together."""
    return sum(line[:-1]) == line[-1]


def state_of(lines: Sequence[Line]) -> State | None:
    """Return the state of a worker, of its slots; None while it has not claimed all of them."""
    own = [line for line in lines if line.kind != Kind.THREAD]
    if not own:
        return None
    threads = [line for line in lines if line.kind == Kind.THREAD]
    return _of_pool(own[0], threads) if own[0].kind == Kind.POOL else _of_line(own[0])


def _of_line(line: Line) -> State:
    in_use = line.begun - line.ended
    return State(
        line.kind,
        bool(line.tells_waits),
        line.capacity,
        line.claimed_ns,
        in_use=in_use,
        in_flight=in_use,
        queued=0,
        begun=line.begun,
        worked_ns=line.worked_ns - in_use * line.since_ns,
    )


def _of_pool(pool: Line, lines: Sequence[Line]) -> State:
    threads = [_of_line(line) for line in lines]
    in_use = sum(thread.in_use for thread in threads)
    begun = sum(thread.begun for thread in threads)
    return State(
        pool.kind,
        bool(pool.tells_waits),
        pool.capacity,
        pool.claimed_ns,
        in_use=in_use,
        # Slots are read one after the other: what changed meanwhile is not to go below zero.
        in_flight=max(0, in_use - pool.parked),
        queued=max(0, pool.handed - begun),
        begun=begun,
        worked_ns=sum(thread.worked_ns for thread in threads),
    )
