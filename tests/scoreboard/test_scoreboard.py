"""scoreboard: slots of real processes: claimed, read, and abandoned."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from gunicorn_backlog.scoreboard import allocation
from gunicorn_backlog.scoreboard.allocation import ClaimError
from gunicorn_backlog.scoreboard.detail_row import SocketState
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import PoolState
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import LEAVING, SUBMITTED, WORK_NS, Slot
from gunicorn_backlog.workers.in_flight import InFlight

AGE = 7


@contextmanager
def child(
    action: Callable[[], object], *, then: Callable[[], object] = signal.pause
) -> Iterator[int]:
    """Fork a process that acts and waits; it is killed and reaped at the end."""
    done, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os.write(told, b"1")
            then()
        finally:
            os._exit(1)
    try:
        assert os.read(done, 1) == b"1"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(done)
        os.close(told)


def claim(scoreboard: Scoreboard, age: int = AGE) -> Slot:
    """Claim a slot for this process."""
    return scoreboard.claim(os.getpid(), age, Kind.GREENLET, 0)


def in_use(scoreboard: Scoreboard, pid: int, age: int = AGE) -> int:
    """Return whether the worker is busy; None without a row."""
    state = scoreboard.reader.read({pid: age}).by_pid[pid]
    return state.busy


def test_a_worker_is_seen_from_its_claim_on() -> None:
    """Not claimed: no entry; claimed: idle; begun: busy; ended: idle."""
    scoreboard = Scoreboard(slots=4)
    running = {os.getpid(): AGE}
    assert scoreboard.reader.read(running).by_pid == {}

    slot = claim(scoreboard)
    state = scoreboard.reader.read(running).by_pid[os.getpid()]
    assert (state.kind, state.capacity, state.busy, state.begun) == (Kind.GREENLET, 0, 0, 0)

    requests = InFlight(slot)
    number = requests.begin()
    assert in_use(scoreboard, os.getpid()) == 1
    requests.end(number)
    assert in_use(scoreboard, os.getpid()) == 0


def test_another_process_writes_and_we_read() -> None:
    """The memory is shared with processes that are forked later."""
    scoreboard = Scoreboard(slots=4)
    with child(lambda: InFlight(claim(scoreboard)).begin()) as pid:
        assert in_use(scoreboard, pid) == 1
        assert scoreboard.reader.read({}).by_pid == {}


def test_a_muted_slot_is_written_no_more() -> None:
    """A process forked by the owner inherits the slot, but does not write to it.

    The process does not wait for a lock, either, that a thread of the owner held.
    """
    scoreboard = Scoreboard(slots=1)
    slot = claim(scoreboard)
    requests = InFlight(slot)
    number = requests.begin()
    slot.lock.acquire()
    scoreboard.detach()
    requests.end(number)
    assert in_use(scoreboard, os.getpid()) == 1


def test_the_slot_of_a_dead_worker_is_claimed_again() -> None:
    """Slots need no release: after kill -9 and the reaping the slot is free."""
    scoreboard = Scoreboard(slots=2)
    for age in range(1, 6):
        with child(lambda age=age: claim(scoreboard, age)) as pid:  # type: ignore[misc]
            assert list(scoreboard.reader.read({pid: age}).by_pid) == [pid]
    assert len(scoreboard.reader.claimed()) == 1


def test_lines_of_threads_are_claimed_again() -> None:
    """The rows of a dead pool are free as a block; a larger pool gets rows behind the living."""
    scoreboard = Scoreboard(slots=8, thread_rows=12)

    def pool(threads: int, age: int = AGE) -> Slot:
        return scoreboard.claim(os.getpid(), age, Kind.GTHREAD, threads)

    with child(lambda: pool(8)):
        with child(lambda: pool(8)):
            assert [line.threads_at for line in scoreboard.reader.claimed()] == [0, 3]
        with child(lambda: pool(9)) as pid:
            assert [line.threads_at for line in scoreboard.reader.claimed()] == [0, 3]
            assert list(scoreboard.reader.read({pid: AGE}).by_pid) == [pid]
            with child(lambda: pool(1)), pytest.raises(ClaimError, match="no 3 thread rows"):
                pool(1)


def test_threads_begin_with_nothing() -> None:
    """New threads start at 0, whatever the former owner of the rows counted."""
    scoreboard = Scoreboard(slots=8)

    def serve() -> None:
        slot = scoreboard.claim(os.getpid(), AGE, Kind.GTHREAD, 2)
        slot.words[SUBMITTED] = 5
        slot.threads[1].words[WORK_NS] = -5

    with child(serve) as pid:
        before = scoreboard.reader.read({pid: AGE}).by_pid[pid]
    scoreboard.claim(os.getpid(), AGE, Kind.GTHREAD, 2)
    after = scoreboard.reader.read({os.getpid(): AGE}).by_pid[os.getpid()]
    assert (before.busy, before.queued) == (1, 5)
    assert (after.busy, after.queued, after.worked_ns) == (0, 0, 0)


def test_nonsense_in_the_memory_raises_nothing() -> None:
    """Random bytes anywhere in the memory raise nothing."""
    scoreboard = Scoreboard(slots=4, thread_rows=6)
    claim(scoreboard)
    for seed in range(50):
        nonsense = random.Random(seed).randbytes(600)
        scoreboard._memory[16 : 16 + len(nonsense)] = nonsense
        running = {line.pid: line.age for line in scoreboard.reader.claimed()}
        scoreboard.reader.read(running)
        scoreboard.reader.waits()
        with suppress(ClaimError):
            scoreboard.claim(os.getpid(), AGE, Kind.GTHREAD, 2)


def test_a_pid_that_comes_again_is_not_taken_for_the_former() -> None:
    """The age separates two workers of one pid, and the second takes over the slot."""
    scoreboard = Scoreboard(slots=4)
    InFlight(claim(scoreboard, age=1)).begin()
    assert scoreboard.reader.read({os.getpid(): 2}).by_pid == {}

    claim(scoreboard, age=2)
    assert in_use(scoreboard, os.getpid(), age=2) == 0
    assert len(scoreboard.reader.claimed()) == 1


def test_no_slot_is_left() -> None:
    """With more workers than slots, the claim raises an error with the reason."""
    scoreboard = Scoreboard(slots=1)
    with (
        child(lambda: claim(scoreboard)),
        pytest.raises(ClaimError, match="all 1 slots"),
    ):
        claim(scoreboard)


def test_a_stopped_claimer_holds_up_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim without the lock raises an error; the lock of a killed process is free."""
    monkeypatch.setattr(allocation, "_PATIENCE_S", 0.03)
    scoreboard = Scoreboard(slots=4)
    with (
        child(lambda: fcntl.lockf(scoreboard._fd, fcntl.LOCK_EX)),
        pytest.raises(ClaimError, match="another worker holds"),
    ):
        claim(scoreboard)
    claim(scoreboard)


def test_waits_stay_counted() -> None:
    """Waits of all slots add up, including those of dead workers and of later owners."""
    scoreboard = Scoreboard(slots=4)
    for age in (1, 2):

        def count(age: int = age) -> None:
            claim(scoreboard, age).waits[3] += 2

        with child(count):
            pass
    claim(scoreboard, age=3).waits[3] += 1
    assert len(scoreboard.reader.claimed()) == 1
    with child(lambda: claim(scoreboard, 4).waits.__setitem__(0, 2**63)):
        assert scoreboard.reader.waits()[:5] == (2**63, 0, 0, 5, 0)


def test_it_is_a_memfd_without_a_name_in_any_file_system() -> None:
    """Another process of the same user can open the memory through /proc."""
    scoreboard = Scoreboard(slots=4)
    path = f"/proc/{os.getpid()}/fd/{scoreboard._fd}"
    assert os.readlink(path) == "/memfd:gunicorn_backlog (deleted)"
    program = "import sys; print(open(sys.argv[1], 'rb').read(8).decode())"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True)
    assert done.stdout == b"gubacklg\n"


def test_without_memfd_it_is_an_unlinked_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memfd_create the memory works, and no file remains."""
    monkeypatch.delattr(os, "memfd_create")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        scoreboard = Scoreboard(slots=4)
        assert os.listdir(folder) == []
        with child(lambda: claim(scoreboard)) as pid:
            assert list(scoreboard.reader.read({pid: AGE}).by_pid) == [pid]


def test_no_memory_is_an_os_error_and_leaks_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is an OSError, and the descriptor is closed."""

    def refuse(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(OSError, match="Cannot allocate"):
        Scoreboard(slots=4)
    assert len(os.listdir("/proc/self/fd")) == before


def test_begun_and_delays_survive_the_owner() -> None:
    """The sums over all slots never decrease when a slot gets its next owner."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    for owner in range(1, 4):
        slot = scoreboard.claim(os.getpid(), owner, Kind.ASGI, 0)
        InFlight(slot).begin()
        slot.delay_counters[3] += 1
        slot.delays[3] = slot.delay_counters[3]
        assert scoreboard.reader.begun() == owner
        assert scoreboard.reader.delays()[3] == owner
        ((_, detail),) = scoreboard.reader.details()
        assert detail.begun_before == owner - 1
    other = scoreboard.claim(os.getpid(), 4, Kind.UNKNOWN, 0)
    assert (other.words[3], scoreboard.reader.begun()) == (3, 3)


def test_each_owner_begins_without_sockets_and_pools() -> None:
    """A former owner's sockets and pools, and that it was leaving, are not the next owner's."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    slot.note_leaving()
    slot.details.write_socket(5, 76)
    slot.details.write_socket(6, 77, 2**40, clock_ns=lambda: 0)
    slot.details.write_socket(7, 78, 0)  # has no word
    slot.loop.write_pools([PoolState(1, 2, 3), None, None, None])
    ((_, detail),) = scoreboard.reader.details()
    assert detail.sockets == (*[None] * 5, SocketState(76, None), SocketState(77, 2**18 - 2))
    row = scoreboard.reader.read({os.getpid(): 1}).by_pid[os.getpid()]
    assert (row.leaving, row.loop and row.loop.pools) == (LEAVING, (("anyio", PoolState(1, 2, 3)),))
    scoreboard.claim(os.getpid(), 2, Kind.ASGI, 0)
    ((_, detail),) = scoreboard.reader.details()
    row = scoreboard.reader.read({os.getpid(): 2}).by_pid[os.getpid()]
    assert (detail.sockets, row.leaving, row.loop and row.loop.pools) == ((None,) * 7, 0, ())
