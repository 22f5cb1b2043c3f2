"""reader: what is read beside those that write it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from gunicorn_backlog.layout import SLOTS_AT
from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.slot import LINE_SIZE, SLOT, Kind, Line, Slot
from gunicorn_backlog.workers.counting import any_of, timed

READS = 1_000_000


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

    return timed(int, slot, clock_ns=clock_ns)


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
    reader = scoreboard.reader
    for index, slot in enumerate(reader.claimed()):
        if slot.kind == Kind.SYNC:
            at = SLOTS_AT + LINE_SIZE * index
            found = reader._steady(at, at + LINE_SIZE)
            yield found and Line._make(SLOT.unpack(found))[6:9]  # type: ignore[misc]  # three
        else:
            at = reader._layout.lines_at + slot.threads_at * LINE_SIZE
            words = reader._steady(at, at + 3 * LINE_SIZE)
            if words is None:
                yield None
                continue
            numbers = memoryview(words).cast("q").tolist()
            yield from (tuple(numbers[thread::8]) for thread in range(2))  # type: ignore[misc]


def test_states_beside_threads_at_full_speed() -> None:
    """A worker with two threads never has more than two in use, and its work goes forth only."""

    def serve(slot: Slot) -> None:
        handle = any_of([timed(int, record) for record in slot.threads], beyond=int)

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
            state = scoreboard.reader.read({pid: 1}).rows().get(pid)
            if state is None:
                continue
            assert state.in_use in (0, 1, 2)
            now = (state.begun, state.worked_ns if not state.in_use else began[1])
            assert now >= began
            began = now
    assert began[0] > 1000
