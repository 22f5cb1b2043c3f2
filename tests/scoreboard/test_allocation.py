"""allocation: free slots and thread rows, and concurrent claims."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from gunicorn_backlog.scoreboard import allocation
from gunicorn_backlog.scoreboard.allocation import (
    ClaimError,
    dead,
    free_slot,
    free_thread_rows,
    taken,
)
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import SlotRecord

SYNC, POOL = Kind.SYNC, Kind.GTHREAD


def line(pid: int, age: int, kind: Kind = SYNC, capacity: int = 1, at: int = 0) -> SlotRecord:
    """Return the record of a claimed slot."""
    return SlotRecord(pid, age, kind, 0, capacity, 0, 0, 0, 0, 0, at)


@contextmanager
def process(action: Callable[[], object] = signal.pause) -> Iterator[int]:
    """Fork a process that acts, reports, and waits; it is killed and reaped at the end."""
    done, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(done)
            action()
            os.write(told, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    try:
        if action is not signal.pause:
            assert os.read(done, 1) == b"1"
        yield pid
    finally:
        os.close(done)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def dead_pid() -> int:
    """Return the pid of a killed and reaped process."""
    with process() as pid:
        pass
    return pid


def test_who_is_dead() -> None:
    """Ended processes and impossible pids are dead; living processes of any user are not."""
    gone = dead_pid()
    with process() as alive:
        living = [line(alive, 1), line(os.getpid(), 2), line(1, 3)]
        others = [line(gone, 4), line(gone, 5), line(2**22 + 1, 6), line(2**32 - 1, 7), line(0, 0)]
        assert dead(living + others) == {(row.pid, row.age) for row in others}


def test_a_process_of_another_user_is_not_dead() -> None:
    """Nobody may not signal process 1, which lives."""
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        os._exit(len(dead([line(1, 1)])))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_what_is_taken() -> None:
    """Slots of all other living workers are taken; age separates two workers of one pid."""
    ours = 10
    claimed = [line(0, 0), line(ours, 1), line(11, 2), line(12, 3), line(12, 9)]
    assert taken(claimed, ours, {(12, 3)}) == {2: claimed[2], 4: claimed[4]}


def test_the_first_slot_that_is_free() -> None:
    """The first free slot lies between others or behind them; a full scoreboard raises."""
    assert free_slot({}, 1) == 0
    assert free_slot({0: line(1, 1), 2: line(2, 2)}, 3) == 1
    assert free_slot({0: line(1, 1), 1: line(2, 2)}, 3) == 2
    with pytest.raises(ClaimError, match=r"^all 2 slots of the scoreboard are taken$"):
        free_slot({0: line(1, 1), 1: line(2, 2)}, 2)


@pytest.mark.parametrize(
    ("places", "count", "free"),
    [
        ([], 3, 0),
        ([(0, 8)], 3, 3),
        ([(3, 8)], 3, 0),
        ([(3, 8)], 6, 6),
        ([(9, 8), (0, 8)], 6, 3),
        ([(6, 8), (0, 8)], 3, 3),
        ([(6, 8), (0, 8)], 4, None),
        ([(0, 24), (3, 1)], 3, 9),  # one within another: overwritten memory
        ([(0, 8)], 0, 0),
        ([(0, 8)], 9, 3),
        ([(0, 8)], 10, None),
        ([(0, 8), (6, 16)], 6, None),
    ],
)
def test_the_first_lines_that_are_free(
    places: list[tuple[int, int]], count: int, free: int | None
) -> None:
    """A pool gets enough adjacent rows of 12, between pools or behind them."""
    pools = [line(1, 1, POOL, threads, at) for at, threads in places]
    claimed = [line(2, 2, SYNC, 1, at=1), *pools]  # a sync worker has no rows
    if free is not None:
        assert free_thread_rows(claimed, count, 12) == free
        return
    with pytest.raises(ClaimError, match=f"^the scoreboard has no {count} thread rows left$"):
        free_thread_rows(claimed, count, 12)


def test_who_claims_between_the_look_and_the_lock_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot claimed by another process between the look and the lock stays with that process."""
    scoreboard = Scoreboard(slots=4, thread_rows=12)

    def pool(age: int) -> None:
        scoreboard.claim(os.getpid(), age, POOL, 8)

    with process(lambda: pool(1)):
        pass
    lock = allocation.lock
    with process_later() as start:

        @contextmanager
        def locked_late(fd: int) -> Iterator[None]:
            monkeypatch.undo()
            other.append(start(lambda: pool(2)))
            with lock(fd):
                yield

        other: list[int] = []
        monkeypatch.setattr(allocation, "lock", locked_late)
        pool(3)
        claimed = [(row.pid, row.age, row.threads_at) for row in scoreboard.reader.claimed()]
        assert claimed == [(other[0], 2, 0), (os.getpid(), 3, 3)]


@contextmanager
def process_later() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Return a function that forks a process once; the process ends with the test."""
    running: list[AbstractContextManager[int]] = []

    def start(action: Callable[[], object]) -> int:
        running.append(process(action))
        return running[-1].__enter__()

    yield start
    for forked in running:
        forked.__exit__(None, None, None)


def test_a_claim_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim waits until another process releases the lock."""
    scoreboard = Scoreboard(slots=4)
    pauses: list[float] = []
    with process_later() as start:
        other = start(lambda: fcntl.lockf(scoreboard._fd, fcntl.LOCK_EX))

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 5:
                os.kill(other, signal.SIGKILL)
                os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)

        monkeypatch.setattr(time, "sleep", sleep)
        scoreboard.claim(os.getpid(), 1, SYNC, 1)
    assert len(pauses) == 5


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses grow, and end after one to some seconds, on the test's clock."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(pauses))
    with (
        tempfile.TemporaryFile() as file,
        process(lambda: fcntl.lockf(file, fcntl.LOCK_EX)),
        pytest.raises(ClaimError, match="another worker holds"),
        allocation.lock(file.fileno()),
    ):
        raise AssertionError("locked by two")
    assert 1 <= sum(pauses) <= 3.1
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.01 < pauses[-1]
