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
        wait_for("CPU time", lambda: cpu_s(process.pid) > 0.5)
        assert cpu_ns(process.pid) / 1e9 == pytest.approx(cpu_s(process.pid), abs=0.05)
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
        wait_for("both to run", lambda: min(cpu_s(one.pid), cpu_s(other.pid)) > 0.3)
        began_ns, ran_ns, waited_ns = time.monotonic_ns(), cpu_ns(one.pid), waited(one.pid)
        wait_for("CPU time", lambda: cpu_ns(one.pid) > ran_ns + 5e8)
        passed_ns = time.monotonic_ns() - began_ns
        total_ns = cpu_ns(one.pid) - ran_ns + waited(one.pid) - waited_ns
        assert total_ns / passed_ns == pytest.approx(1, abs=0.05)
        assert waited(one.pid) - waited_ns > 0.3 * passed_ns
        for process in (one, other):
            process.kill()


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
