"""The CPU clock and the scheduler statistics of other processes, against the kernel's counters."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gunicorn_backlog.kernel import schedstat
from gunicorn_backlog.kernel.cpu_clock import cpu_ns
from gunicorn_backlog.kernel.schedstat import SchedStatError, decode, waits_ns
from tests.lab.procfs import cpu_s
from tests.lab.waiting import wait_for

BURN = "while True: pass"


def test_the_cpu_clock_of_another_process() -> None:
    """A busy process's clock agrees with ``/proc/PID/stat``; an ended process has none."""
    with subprocess.Popen([sys.executable, "-c", BURN]) as process:
        wait_for("CPU time", lambda: cpu_s(process.pid) > 0.2)
        before_s, clock_s, after_s = (
            cpu_s(process.pid),
            cpu_ns(process.pid) / 1e9,
            cpu_s(process.pid),
        )
        assert before_s - 0.02 <= clock_s <= after_s + 0.02  # the file has ticks of 0.01 s
        process.kill()
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_ns(process.pid)


def test_the_clock_includes_ended_threads() -> None:
    """The CPU time of a thread stays in the process's clock after the thread's end."""

    def burn() -> None:
        while time.thread_time() < 0.2:
            pass

    before_ns = cpu_ns(os.getpid())
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert cpu_ns(os.getpid()) - before_ns >= 0.2e9


def test_two_processes_on_one_cpu() -> None:
    """One of two busy processes waits while the other runs: run and wait make up the time."""
    cpu = max(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, [{cpu}])\n{BURN}"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command) as one, subprocess.Popen(command) as other:
        wait_for("both to run", lambda: min(cpu_s(one.pid), cpu_s(other.pid)) > 0.05)
        wait_for("run and wait of an undisturbed time", lambda: make_up_the_time(one.pid))
        for process in (one, other):
            process.kill()


def make_up_the_time(pid: int) -> bool:
    """Return whether a process ran or waited during 0.3 s of its CPU time, within 5 %.

    On a busy machine this process may be preempted between two readings.
    """
    began_ns, ran_ns, waited_ns = time.monotonic_ns(), cpu_ns(pid), waited(pid)
    wait_for("CPU time", lambda: cpu_ns(pid) > ran_ns + 3e8)
    passed_ns = time.monotonic_ns() - began_ns
    total_ns = cpu_ns(pid) - ran_ns + waited(pid) - waited_ns
    alike = total_ns / passed_ns == pytest.approx(1, abs=0.05)
    return alike and waited(pid) - waited_ns > 0.3 * passed_ns


def waited(pid: int) -> int:
    """Return the wait of all threads in ns."""
    return sum(waits_ns(pid).values())


def test_each_thread_has_its_own_wait() -> None:
    """The threads are those of ``/proc/PID/task``."""
    release = threading.Event()
    threads = [threading.Thread(target=release.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    found = waits_ns(os.getpid())
    assert {thread.native_id for thread in threads} < found.keys()
    release.set()
    with pytest.raises(FileNotFoundError):
        waits_ns(4194304)


@pytest.mark.parametrize("octets", [b"", b"1 2", b"1 2 3 4", b"1 -2 3", b"a b c", b"\xff 1 2"])
def test_junk(octets: bytes) -> None:
    """A malformed file is one error."""
    assert decode(b"12 34 5\n") == (12, 34)
    with pytest.raises(SchedStatError):
        decode(octets)


@pytest.mark.parametrize("text", ["0 0 0\n", None])
def test_a_kernel_that_does_not_account(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros, or no file, are an error; this kernel accounts."""
    schedstat.check_accounting()
    (tmp_path / "self").mkdir()
    if text is not None:
        (tmp_path / "self" / "schedstat").write_text(text)
    monkeypatch.setattr(schedstat, "PROC", tmp_path)
    with pytest.raises(SchedStatError):
        schedstat.check_accounting()
