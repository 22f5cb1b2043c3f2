"""slot: what is written by the owner, and read by somebody else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.slot import (
    BEGUN,
    LINE_SIZE,
    SINCE_NS,
    SLOT,
    WORK_NS,
    Kind,
    Line,
    Record,
    Slot,
    State,
    lines_of,
    state_of,
)
from gunicorn_backlog.workers.counting import always, any_of, timed

READS = 1_000_000


def line(kind: Kind, *words: int, capacity: int = 2) -> Line:
    """Return a slot's fields."""
    return Line(1234, 7, kind, 1, capacity, 10, *words, *[0] * (5 - len(words)))


def test_a_slot_is_one_cache_line() -> None:
    """No two owners write to the same."""
    assert SLOT.size == LINE_SIZE == 64


def test_of_one_request_at_a_time() -> None:
    """In use from the begin on, and the time goes on; idle it is the time worked."""
    idle = state_of(line(Kind.SYNC, 1000, 4, 300, capacity=1))
    assert idle == State(Kind.SYNC, True, 1, 10, 0, 0, 0, 4, 0, 1000)
    at_work = state_of(line(Kind.SYNC, 1000 - 5300, 5, 5300, capacity=1))
    assert (at_work.in_use, at_work.in_flight, at_work.begun) == (1, 1, 5)
    assert at_work.worked_ns + at_work.timed * 5350 == 1050


def test_of_any_number_of_requests() -> None:
    """In use as many as are in flight."""
    state = state_of(line(Kind.ASGI, 3, 9, capacity=0))
    assert state == State(Kind.ASGI, True, 0, 10, 3, 3, 0, 9, 0, 0)


def test_of_a_pool() -> None:
    """Its threads add up; connections that none took are queued; parked threads serve nobody."""
    work_ns, begun, since_ns = [700 - 1000, 50, 0], [5, 2, 0], [1000, 1, 0]
    state = state_of(line(Kind.POOL, 10, 1, 1, 0), [*work_ns, *begun, *since_ns])
    assert state == State(Kind.POOL, True, 2, 10, 1, 0, 2, 7, 1, 450 - 700)


def test_threads_without_a_record() -> None:
    """They are in use, and their requests in flight; their time is not known."""
    state = state_of(line(Kind.POOL, 5, 3, 0, 2), [-100, -100, 1, 1, 100, 100])
    assert (state.in_use, state.in_flight, state.queued, state.timed) == (4, 4, 0, 2)


def test_what_changes_while_it_is_read_is_never_negative() -> None:
    """A thread that ended after it was seen parked, and began after the pool was seen."""
    state = state_of(line(Kind.POOL, 4, 0, 1), [100, 5, 1])
    assert (state.in_flight, state.queued) == (0, 0)


@pytest.mark.parametrize(("threads", "lines"), [(0, 0), (1, 3), (8, 3), (9, 6), (128, 48)])
def test_lines_of_threads(threads: int, lines: int) -> None:
    """Eight of them have three lines."""
    assert lines_of(threads) == lines


def test_records_of_threads_lie_apart() -> None:
    """Each word of each is one of its own, that of the same meaning side by side."""
    memory, own = (memoryview(bytearray(lines * LINE_SIZE)) for lines in (6, 1))
    slot = Slot(Kind.POOL, own, own, 9, memory)
    for number, record in enumerate(slot.threads):
        record.words[WORK_NS] = 1 + number
        record.words[BEGUN] = 101 + number
        record.words[SINCE_NS] = 201 + number
    words = memory.cast("q").tolist()
    assert words[:9] == [*range(1, 10)]
    assert words[16:25] == [*range(101, 110)]
    assert words[32:41] == [*range(201, 210)]
    assert sum(map(bool, words)) == 27


@contextmanager
def worker(
    scoreboard: Scoreboard, serve: Callable[[Slot], None], kind: Kind, capacity: int
) -> Iterator[int]:
    """Fork a worker that claims a slot and serves until it is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            serve(scoreboard.claim(os.getpid(), 1, kind, capacity))
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def handling(slot: Any) -> Callable[[], object]:
    """Return a request of nothing on a clock by which each number tells what the others are.

    With it the n-th request begins at 2n - 1 and ends at 2n.
    """
    now_ns = 0

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns += 1
        return now_ns

    return timed(int, always(slot), clock_ns=clock_ns)


def serve_at_full_speed(slot: Slot) -> None:
    """Begin and end requests."""
    handle = handling(slot)
    while True:
        handle()


def serve_in_threads(slot: Slot) -> None:
    """Begin and end requests in each thread, on a clock of its own."""
    for record in slot.threads:
        threading.Thread(target=serve_at_full_speed, args=(record,), daemon=True).start()
    signal.pause()


def is_true(work_ns: int, begun: int, since_ns: int) -> bool:
    """Tell whether a record was ever so: idle, begun in three steps, at work."""
    idle = work_ns == begun and since_ns == max(0, 2 * begun - 1)
    beginning = work_ns == begun - 1 and since_ns in (2 * begun - 3, 2 * begun - 1, 0)
    return idle or beginning or (work_ns == -begun and since_ns == 2 * begun - 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_no_inconsistent_read_goes_undetected(processes: int) -> None:
    """A reader beside workers at full speed, threads and processes: what it takes was once so."""
    scoreboard = Scoreboard(slots=16)
    reads = 0
    seen = set()
    with ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(worker(scoreboard, serve_at_full_speed, Kind.SYNC, 1))
            stack.enter_context(worker(scoreboard, serve_in_threads, Kind.POOL, 2))
        while reads < READS // 2:
            for record in records_of(scoreboard):
                reads += 1
                if record is not None:
                    assert is_true(*record), record
                    seen.add(record)
    assert len(seen) > 1000  # or this test has shown nothing
    assert len({work_ns < 0 for work_ns, _, _ in seen}) == 2


def records_of(scoreboard: Scoreboard) -> Iterator[tuple[int, int, int] | None]:
    """Read each record as the arbiter does; None if it changes all the time."""
    for index, slot in enumerate(scoreboard._claimed_lines()):
        if slot.kind == Kind.SYNC:
            found = scoreboard._steady(LINE_SIZE * (1 + index), 1)
            yield found and Line._make(SLOT.unpack(found))[6:9]  # type: ignore[misc]  # three
        else:
            at = scoreboard._lines_at + slot.threads_at * LINE_SIZE
            words = scoreboard._steady(at, 3)
            if words is None:
                yield None
                continue
            numbers = memoryview(words).cast("q").tolist()
            yield from (tuple(numbers[thread::8]) for thread in range(2))  # type: ignore[misc]


def test_states_beside_threads_at_full_speed() -> None:
    """A worker with two threads never has more than two in use, and its work goes forth only."""

    def serve(slot: Slot) -> None:
        handle = timed(int, any_of(slot.threads))

        def run() -> None:
            while True:
                handle()

        for _ in range(2):
            threading.Thread(target=run, daemon=True).start()
        signal.pause()

    scoreboard = Scoreboard(slots=16)
    began = (0, 0)
    with worker(scoreboard, serve, Kind.POOL, 2) as pid:
        for _ in range(READS // 20):
            state = scoreboard.read({pid: 1}).get(pid)
            if state is None:
                continue
            assert state.in_use in (0, 1, 2)
            now = (state.begun, state.worked_ns if not state.in_use else began[1])
            assert now >= began
            began = now
    assert began[0] > 1000


def test_a_record_is_free_again_after_a_signal_handler_raised() -> None:
    """What was broken off between begin and call is no work, and the next request is counted."""
    record = Record(memoryview(bytearray(24)).cast("q"))
    record.words[BEGUN], record.words[SINCE_NS], record.words[WORK_NS] = 3, 90, 40 - 90
    timed(int, always(record), clock_ns=iter((100, 200)).__next__)()
    assert record.words.tolist() == [40 + 100, 4, 100]
