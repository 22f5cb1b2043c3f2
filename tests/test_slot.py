"""slot: what is written by the owner, and read by somebody else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.slot import (
    BEGUN,
    CHECK,
    ENDED,
    SINCE_NS,
    SLOT,
    WORKED_NS,
    Kind,
    Line,
    Slot,
    State,
    is_whole,
    state_of,
)
from gunicorn_backlog.workers.counting import timed

READS = 1_000_000
OWNER = (1234, 7, Kind.SYNC, 0, 1, 10**15)
WAITS = memoryview(bytearray(64))


def line(kind: Kind, begun: int, ended: int, worked_ns: int = 0, since_ns: int = 0) -> Line:
    """Return a slot's fields."""
    return Line(1234, 7, kind, 1, 2, 10, begun, ended, worked_ns, since_ns, 0)


def test_a_slot_is_one_cache_line() -> None:
    """No two owners write to the same."""
    assert SLOT.size == 64


def test_of_one_slot() -> None:
    """In use is what began and did not end; the time of that goes on."""
    state = state_of([line(Kind.SYNC, 5, 4, worked_ns=1000, since_ns=300)])
    assert state == State(Kind.SYNC, True, 2, 10, 1, 1, 0, 5, 700)
    assert state.worked_ns + state.in_use * 350 == 1050


def test_of_a_pool() -> None:
    """Its threads add up; connections that none took are queued; parked threads serve nobody."""
    threads = [
        line(Kind.THREAD, 5, 4, worked_ns=1000, since_ns=300),
        line(Kind.THREAD, 2, 1, worked_ns=100, since_ns=200),
    ]
    state = state_of([*threads, line(Kind.POOL, 9, 1)])
    assert state == State(Kind.POOL, True, 2, 10, 2, 1, 2, 7, 600)


def test_what_changes_while_it_is_read_is_never_negative() -> None:
    """A thread that ended after it was seen parked, and began after the pool was seen."""
    state = state_of([line(Kind.THREAD, 5, 5), line(Kind.POOL, 4, 1)])
    assert state is not None
    assert (state.in_flight, state.queued) == (0, 0)


def test_each_half_of_a_write_is_seen() -> None:
    """Any part of the words of a change, in any order, has a wrong sum."""
    memory = bytearray(SLOT.size)
    slot = Slot(memoryview(memory), WAITS, OWNER)
    before = [0, 0, 0, 0, slot.seal]
    after = [3, 2, 10**12, 10**15, slot.seal + 5 + 10**12 + 10**15]
    for chosen in range(2**5):
        for word in range(5):
            slot.words[word] = (after if chosen & 1 << word else before)[word]
        assert is_whole(SLOT.unpack(memory)) == (chosen in (0, 2**5 - 1))


def test_a_slot_that_changes_hands_is_seen() -> None:
    """The sum is over the owner too: the numbers of one never pass for another's."""
    memory = bytearray(SLOT.size)
    Slot(memoryview(memory), WAITS, OWNER)
    former = bytes(memory)
    Slot(memoryview(memory), WAITS, (OWNER[0] + 1, *OWNER[1:]))
    assert is_whole(SLOT.unpack(memory))
    assert not is_whole(SLOT.unpack(former[:24] + memory[24:]))


@contextmanager
def writers(scoreboard: Scoreboard, write: Callable[[list[Slot]], None]) -> Iterator[int]:
    """Fork a worker that claims two threads' slots and writes them until it is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            wanted = [(Kind.THREAD, 1)] * 2 + [(Kind.POOL, 2)]
            write(scoreboard.claim(os.getpid(), 1, wanted))
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def write_for_ever(slot: Slot) -> None:
    """Write, with the clock's help, numbers of which each follows from the others."""

    def related(number: int) -> int:
        return number * number

    count = worked_ns = 0
    while True:
        words = slot.words
        count += 1
        worked_ns = 3 * count
        words[BEGUN] = count
        words[SINCE_NS] = related(count)
        words[WORKED_NS] = worked_ns
        words[ENDED] = 5 * count
        words[CHECK] = slot.seal + count + related(count) + worked_ns + 5 * count


def write_in_threads(slots: list[Slot]) -> None:
    """Write each thread's slot in a thread."""
    for slot in slots[:-1]:
        threading.Thread(target=write_for_ever, args=(slot,), daemon=True).start()
    signal.pause()


def serve_in_threads(slots: list[Slot]) -> None:
    """Begin and end as gthread's threads do, at full speed."""

    def serve(slot: Slot) -> None:
        handle = timed(int, slot)
        while True:
            handle()

    for slot in slots[:-1]:
        threading.Thread(target=serve, args=(slot,), daemon=True).start()
    signal.pause()


def lines(scoreboard: Scoreboard) -> Iterator[tuple[int, ...]]:
    """Read the slots of all threads, whole or not."""
    for fields in SLOT.iter_unpack(
        scoreboard._memory[SLOT.size : SLOT.size * (1 + scoreboard._claimed())]
    ):
        if fields[2] == Kind.THREAD:
            yield fields


@pytest.mark.parametrize("processes", [1, 2])
def test_no_inconsistent_read_goes_undetected(processes: int) -> None:
    """A reader beside writers at full speed: what has the right sum was written together."""
    scoreboard = Scoreboard(slots=16)
    whole = torn = 0
    seen = set()
    with ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(writers(scoreboard, write_in_threads))
        while whole + torn < READS // 2:
            for fields in lines(scoreboard):
                if not is_whole(fields):
                    torn += 1
                    continue
                whole += 1
                begun, ended, worked_ns, since_ns = fields[6:10]
                assert (ended, worked_ns, since_ns) == (5 * begun, 3 * begun, begun * begun)
                seen.add(begun)
    assert len(seen) > 100
    assert torn > 0  # or this test has shown nothing


def test_states_beside_threads_at_full_speed() -> None:
    """A worker with two threads never has more than two in use, and its work goes forth only."""
    scoreboard = Scoreboard(slots=16)
    began = (0, 0)
    with writers(scoreboard, serve_in_threads) as pid:
        for _ in range(READS // 20):
            state = scoreboard.read({pid: 1}).get(pid)
            if state is None:
                continue
            assert state.in_use in (0, 1, 2)
            now = (state.begun, state.worked_ns if not state.in_use else began[1])
            assert now >= began
            began = now
    assert began[0] > 1000
