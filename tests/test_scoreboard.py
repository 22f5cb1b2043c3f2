"""scoreboard: slots of real processes, claimed, read, and left behind."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from gunicorn_backlog import scoreboard as module
from gunicorn_backlog.scoreboard import Kind, Scoreboard, ScoreboardError, Slot, State
from tests.lab.waiting import wait_for

AGE = 7
HEADER, SLOT = 64, 64


@contextmanager
def child(
    action: Callable[[], object], *, then: Callable[[], object] = signal.pause
) -> Iterator[int]:
    """Fork a process that acts, then waits to be killed; killed and reaped at the end."""
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
    return scoreboard.claim(os.getpid(), age, Kind.SYNC, 1)


def test_a_worker_is_seen_from_its_claim_on() -> None:
    """Not claimed: no entry; claimed: idle; written: what was written."""
    scoreboard = Scoreboard(slots=4)
    running = {os.getpid(): AGE}
    assert scoreboard.read(running) == {}

    slot = claim(scoreboard)
    state = scoreboard.read(running)[os.getpid()]
    assert state is not None
    assert (state.kind, state.capacity, state.in_use, state.begun) == (Kind.SYNC, 1, 0, 0)

    slot.write(1, 2, 3, 4, 5)
    assert scoreboard.read(running) == {os.getpid(): State(Kind.SYNC, 1, 1, 2, 3, 4, 5)}


def test_another_process_writes_and_we_read() -> None:
    """The memory is shared with processes forked later."""
    scoreboard = Scoreboard(slots=4)
    with child(lambda: claim(scoreboard).write(1, 20, 30, 40, 50)) as pid:
        assert scoreboard.read({pid: AGE}) == {pid: State(Kind.SYNC, 1, 1, 20, 30, 40, 50)}
        assert scoreboard.read({}) == {}


def test_a_muted_slot_is_written_no_more() -> None:
    """A process that the owner forked has the owner's slot, and must not write it."""
    scoreboard = Scoreboard(slots=1)
    slot = claim(scoreboard)
    slot.write(1, 2, 3, 4, 5)
    slot.mute()
    slot.write(0, 0, 0, 0, 0)
    assert scoreboard.read({os.getpid(): AGE})[os.getpid()] == State(Kind.SYNC, 1, 1, 2, 3, 4, 5)


def test_the_slot_of_a_dead_worker_is_claimed_again() -> None:
    """Nobody has to release anything: kill -9, reap, and the slot is free."""
    scoreboard = Scoreboard(slots=2)
    for age in range(1, 6):
        with child(lambda age=age: claim(scoreboard, age)) as pid:  # type: ignore[misc]
            assert list(scoreboard.read({pid: age})) == [pid]
    assert scoreboard._claimed() == 1


def test_a_pid_that_comes_again_is_not_taken_for_the_former() -> None:
    """The age tells two workers of one pid apart, and the second takes over the slot."""
    scoreboard = Scoreboard(slots=4)
    claim(scoreboard, age=1).write(1, 2, 3, 4, 5)
    assert scoreboard.read({os.getpid(): 2}) == {}

    claim(scoreboard, age=2)
    assert scoreboard.read({os.getpid(): 2})[os.getpid()] is not None
    assert scoreboard._claimed() == 1


def test_no_slot_is_left() -> None:
    """More workers than slots: an error that says so."""
    scoreboard = Scoreboard(slots=1)
    with (
        child(lambda: claim(scoreboard)),
        pytest.raises(ScoreboardError, match="all 1 slots"),
    ):
        claim(scoreboard)


def test_a_stopped_claimer_holds_up_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can't get the lock says so; and the lock of a killed process is free."""
    monkeypatch.setattr(module, "_LOCK_TRIES", 3)
    scoreboard = Scoreboard(slots=4)
    with (
        child(lambda: fcntl.lockf(scoreboard._fd, fcntl.LOCK_EX)),
        pytest.raises(ScoreboardError, match="another worker holds"),
    ):
        claim(scoreboard)
    claim(scoreboard)


def test_a_torn_record_is_no_state() -> None:
    """Half of a record has a wrong sum: the reader gives it up, and says so by None."""
    scoreboard = Scoreboard(slots=4)
    slot = claim(scoreboard)
    before = bytes(scoreboard._memory[HEADER + 16 : HEADER + SLOT])
    slot.write(3, 10**12, 10**15, 77, 5)
    after = bytes(scoreboard._memory[HEADER + 16 : HEADER + SLOT])
    for cut in range(8, len(after), 8):
        scoreboard._memory[HEADER + 16 : HEADER + SLOT] = after[:cut] + before[cut:]
        assert scoreboard.read({os.getpid(): AGE}) == {os.getpid(): None}
    scoreboard._memory[HEADER + 16 : HEADER + SLOT] = after
    assert scoreboard.read({os.getpid(): AGE})[os.getpid()] is not None


def test_a_century_fits() -> None:
    """The fields and their sum hold a hundred years of nanoseconds."""
    scoreboard = Scoreboard(slots=1)
    century_ns = 100 * 366 * 86400 * 10**9
    claim(scoreboard).write(1, century_ns, century_ns, century_ns, 0)
    assert scoreboard.read({os.getpid(): AGE})[os.getpid()] == State(
        Kind.SYNC, 1, 1, century_ns, century_ns, century_ns, 0
    )


def test_it_is_a_memfd_without_a_name_in_any_file_system() -> None:
    """Another process of the same user can open it through /proc."""
    scoreboard = Scoreboard(slots=4)
    path = f"/proc/{os.getpid()}/fd/{scoreboard._fd}"
    assert os.readlink(path) == "/memfd:gunicorn_backlog (deleted)"
    program = "import sys; print(open(sys.argv[1], 'rb').read(8).decode())"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True)
    assert done.stdout == b"gubacklg\n"


def test_without_memfd_it_is_an_unlinked_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no memfd_create the memory works all the same, and leaves no file."""
    monkeypatch.delattr(os, "memfd_create")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        scoreboard = Scoreboard(slots=4)
        assert os.listdir(folder) == []
        with child(lambda: claim(scoreboard)) as pid:
            assert list(scoreboard.read({pid: AGE})) == [pid]


def test_no_memory_is_an_os_error_and_leaks_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller goes on without; the descriptor is closed."""

    def refuse(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(OSError, match="Cannot allocate"):
        Scoreboard(slots=4)
    assert len(os.listdir("/proc/self/fd")) == before


def write_patterns(scoreboard: Scoreboard) -> None:
    """Write as fast as possible, for ever, records whose fields can be told to belong together."""
    slot = claim(scoreboard)
    for number in count(1):
        slot.write(number, 2 * number, 3 * number, 5 * number, 7 * number)


def test_full_speed_writes_are_never_read_torn() -> None:
    """A reader beside a writer at full speed sees whole records only."""
    scoreboard = Scoreboard(slots=1)
    seen = set()
    with child(lambda: None, then=lambda: write_patterns(scoreboard)) as pid:
        wait_for(
            "a write", lambda: any(s and s.in_use for s in scoreboard.read({pid: AGE}).values())
        )
        for _ in range(50_000):
            state = scoreboard.read({pid: AGE})[pid]
            if state is None:  # the writer was stopped in the middle of a write: seen, not read
                continue
            number = state.in_use
            assert state[2:] == (number, 2 * number, 3 * number, 5 * number, 7 * number)
            seen.add(number)
    assert len(seen) > 100
