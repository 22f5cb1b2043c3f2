"""A loop row: the state of one worker's event loop and of the thread pools behind the loop.

Each slot has a row of 16 words of 8 bytes. Only workers of the kinds in ``kind.HAS_LOOP`` write to
their rows. The words are written in the loop's thread, by one store each:

=====  ==========  ===============================================================================
word   field       meaning
=====  ==========  ===============================================================================
0      work_ns     ``Meter.EXACT``: blocked in a poll: time run; running: time run before, less
                   ``since_ns``, hence below 0. ``Meter.BEAT``: time run until the latest beat
1      since_ns    ``Meter.EXACT``: time at which the loop left its latest poll
2      beat_ns     time of the latest beat; 0: none yet
3      meter       how ``work_ns`` is measured, see ``Meter``
4…5    (unused)
6…13   pools       two words for each of POOLS, see below
14…15  (unused)
=====  ==========  ===============================================================================

The first word of a pool is ``working << 32 | queued``. The second word is 0 if the app does not use
the pool, else its capacity plus 1; UNBOUNDED if the capacity is not fixed. Clocks are
CLOCK_MONOTONIC in nanoseconds. A reader copies each row once: no two words depend on each other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

LOOP_ROW = struct.Struct("=16q")

WORK_NS, SINCE_NS, BEAT_NS, METER = range(4)
POOLS = ("anyio", "asgiref", "default", "gevent")
_POOLS_AT = 6
UNBOUNDED = 1 << 31

BEAT_EVERY_NS = 100_000_000
# A beat that is late by less than this may only have been woken late: the loop is not blocked.
OVERDUE_NS = 20_000_000


class Meter(IntEnum):
    """How a loop's running time is measured.

    NONE: not yet: the loop has not started, or has stopped. ``work_ns`` has no meaning.
    EXACT: at each iteration.
    BEAT: at each beat, from the loop's own total of idle time.
    ABSENT: not at all; ``work_ns`` has no meaning. Beats may be present.
    """

    NONE = 0
    EXACT = 1
    BEAT = 2
    ABSENT = 3


_MEASURED = frozenset({int(Meter.EXACT), int(Meter.BEAT)})


class PoolState(NamedTuple):
    """A thread pool behind a loop.

    working: busy threads.
    queued: calls that wait for a thread.
    capacity: number of threads at most; None: not fixed.
    """

    working: int
    queued: int
    capacity: int | None

    @property
    def idle(self) -> int | None:
        """Number of calls that would start at once; None: not fixed."""
        return None if self.capacity is None else max(0, self.capacity - self.working)


class RunningTime(NamedTuple):
    """Nanoseconds that a loop has run until the time ``until_ns``, CLOCK_MONOTONIC."""

    ran_ns: int
    until_ns: int


class LoopState(NamedTuple):
    """A decoded loop row; see the module's table.

    pools: by name, of the pools that the app uses.
    """

    work_ns: int
    since_ns: int
    beat_ns: int
    meter: int
    pools: tuple[tuple[str, PoolState], ...] = ()

    @property
    def measured(self) -> bool:
        """Whether the running time is measured."""
        return self.meter in _MEASURED

    def running_time(self, now_ns: int) -> RunningTime:
        """Return the time that the loop has run.

        ``Meter.BEAT``: a loop that missed a beat has run since its latest beat; this may be 100 ms
        too much.
        """
        if self.meter == Meter.EXACT:
            return RunningTime(self.work_ns + (now_ns if self.work_ns < 0 else 0), now_ns)
        if self._missed_a_beat(now_ns):
            return RunningTime(self.work_ns + now_ns - self.beat_ns, now_ns)
        return RunningTime(self.work_ns, self.beat_ns)

    def late_ns(self, now_ns: int) -> int:
        """Return the nanoseconds by which the next beat is overdue; 0: not overdue."""
        late_ns = now_ns - self.beat_ns - BEAT_EVERY_NS
        return late_ns if self.beat_ns and late_ns >= OVERDUE_NS else 0

    def blocked_ns(self, now_ns: int) -> int:
        """Return the nanoseconds since which the loop is blocked, as far as measured; 0: not."""
        if self.meter == Meter.EXACT:
            # A poll that does not sleep is not recorded; a beat proves that the loop goes round.
            latest_ns = max(self.since_ns, self.beat_ns)
            return max(0, now_ns - latest_ns) if self.work_ns < 0 else 0
        return now_ns - self.beat_ns if self._missed_a_beat(now_ns) else 0

    def _missed_a_beat(self, now_ns: int) -> bool:
        """Return whether the beat after the overdue one is due, too.

        A busy loop is often late by less, and may have been idle for most of the time before.
        """
        return self.late_ns(now_ns) >= BEAT_EVERY_NS


def pool_words(pools: Sequence[PoolState | None]) -> list[int]:
    """Return the words of all pools, in the order of POOLS; None: the app does not use the pool."""
    words = []
    for pool in pools:
        if pool is None:
            words += [0, 0]
        else:
            capacity = UNBOUNDED if pool.capacity is None else pool.capacity + 1
            words += [pool.working << 32 | pool.queued, capacity]
    return words


def decode_loop(octets: bytes | bytearray | memoryview, at: int = 0) -> LoopState:
    """Return the state in a loop row, LOOP_ROW.size bytes from ``at`` on."""
    words = LOOP_ROW.unpack_from(octets, at)
    work_ns, since_ns, beat_ns, meter = words[:4]
    if not any(words[_POOLS_AT:]):  # as of most apps
        return LoopState(work_ns, since_ns, beat_ns, meter)
    pools = []
    for number, name in enumerate(POOLS):
        counts, capacity = words[_POOLS_AT + 2 * number : _POOLS_AT + 2 * number + 2]
        if capacity > 0 and counts >= 0:
            at_most = None if capacity == UNBOUNDED else capacity - 1
            pools.append((name, PoolState(counts >> 32, counts & 0xFFFFFFFF, at_most)))
    return LoopState(work_ns, since_ns, beat_ns, meter, tuple(pools))


class LoopRow:
    """A loop row, for its owner.

    words: the words in the shared memory; ``detach`` replaces them.
    """

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def write_pools(self, pools: Sequence[PoolState | None]) -> None:
        """Write all pools, in the order of POOLS."""
        for at, word in enumerate(pool_words(pools), _POOLS_AT):
            self.words[at] = word

    def detach(self) -> None:
        """Store nothing in the shared memory from now on, as in a child of the owner."""
        self.words = memoryview(bytearray(LOOP_ROW.size)).cast("q")
