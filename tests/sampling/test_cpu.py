"""CPU usage of several processes: means, new and ended ones, and the bounded cost of a reading."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gunicorn_backlog.kernel.cpu_clock import cpu_ns
from gunicorn_backlog.sampling.cpu import BUDGET, EVERY_NS, CpuMeter, CpuUsage, CpuWaits
from tests.lab.waiting import wait_for

BURN = "while True: pass"
SLEEP = "import time; time.sleep(600)"


@contextmanager
def processes(*programs: str) -> Iterator[list[int]]:
    """Run Python programs, and yield their pids."""
    with ExitStack() as stack:
        running = []
        for program in programs:
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program]))
            stack.callback(process.kill)
            running.append(process.pid)
        yield running


def test_the_mean_of_two_processes() -> None:
    """A busy and a sleeping process: the mean is half of what the busy one used."""
    meter, of_one = CpuMeter(every_ns=0), CpuMeter(every_ns=0)
    with processes(BURN, SLEEP) as (busy, idle):
        wait_for("both to run", lambda: cpu_ns(idle) > 0 and cpu_ns(busy) > 1e8)
        meter.add({busy, idle})
        of_one.add({busy})
        assert meter.update({busy, idle}).used is not None
        begin_ns = cpu_ns(busy)
        wait_for("CPU time", lambda: cpu_ns(busy) > begin_ns + 4e8)
        usage = meter.update({busy, idle})
        alone = of_one.update({busy})
    assert usage.used is not None
    assert usage.waited is not None
    # A busy process always runs or waits; the sleeping one does neither.
    assert usage.used + usage.waited == pytest.approx(50, abs=4)
    assert alone.used is not None
    assert alone.waited is not None
    assert alone.used + alone.waited == pytest.approx(100, abs=8)


def test_at_most_once_per_second() -> None:
    """An earlier call returns the former usage; without workers there is none."""
    now_ns = [10**12]
    meter = CpuMeter(clock_ns=lambda: now_ns[0])
    us = {os.getpid()}
    meter.add(us)
    now_ns[0] += EVERY_NS
    first = meter.update(us)
    assert first.used is not None
    sum(range(10**6))
    now_ns[0] += EVERY_NS - 1
    assert meter.update(us) == first
    now_ns[0] += 1
    second = meter.update(us)
    assert second.used is not None
    assert second != first
    assert meter.update(()) == CpuUsage()


def test_an_ended_process_is_left_out() -> None:
    """The mean is that of the living; one reading without any is no error, three are one."""
    meter = CpuMeter(every_ns=0)
    with processes(SLEEP) as (pid,):
        meter.add({pid, os.getpid()})
    both = {pid, os.getpid()}
    assert meter.update(both).used is not None
    assert meter.errors == {}
    for _ in range(2):
        meter.update({pid})
        assert meter.errors == {}
    assert meter.update({pid}) == CpuUsage()
    assert "the CPU time of the workers" in meter.errors


@pytest.mark.parametrize(("workers", "threads"), [(128, 1), (300, 1), (40, 17), (3, 500)])
def test_the_cost_of_a_reading_is_bounded(workers: int, threads: int) -> None:
    """However many threads there are, the files per reading are BUDGET on average.

    Each worker is read equally often, and 128 workers of one thread are read each time.
    """
    now_ns, read = [0], Counter[int]()

    def tasks(pid: int) -> dict[int, int]:
        read[pid] += 1
        return dict.fromkeys(range(threads), now_ns[0] // 2)  # each waits half of the time

    waits, pids = CpuWaits(lambda: now_ns[0], tasks), range(1, workers + 1)
    waits.add(pids)
    readings = 60
    for _ in range(readings):
        now_ns[0] += 10**9
        spent = waits.update(pids)
        if spent.elapsed_ns and now_ns[0] > 30 * 10**9:
            assert spent.percent == 50 * threads
    files = read.total() * (1 + threads)
    assert files <= (readings + 1) * BUDGET + 1 + threads
    assert max(read[pid] for pid in pids) - min(read[pid] for pid in pids) <= 2
    if workers * (1 + threads) <= BUDGET:
        assert min(read.values()) == readings + 1


def test_a_thread_that_began_and_one_whose_id_is_used_again() -> None:
    """A new thread counts from 0 on, also under the id of an ended one."""
    now_ns = [0]
    tasks = {1: 100, 2: 70}
    waits = CpuWaits(lambda: now_ns[0], lambda pid: dict(tasks))
    waits.add([7])
    now_ns[0] = 1000
    tasks.update({1: 150, 2: 20, 3: 30})
    assert waits.update([7]) == (50 + 20 + 30, 1000)


def test_waits_that_are_never_readable() -> None:
    """Workers whose waits can't be read from the first time on are an error; one that can is none.

    The error ends when a worker is read again.
    """
    hidden = {7, 8}

    def tasks(pid: int) -> dict[int, int]:
        if pid in hidden:
            raise PermissionError(pid)
        return {pid: 0}

    now_ns = [0]
    waits = CpuWaits(lambda: now_ns[0], tasks)
    waits.add([7, 8])
    for _ in range(3):
        now_ns[0] += 10**9
        assert waits.update([7, 8]) == (0, 0)
        assert isinstance(waits.error, PermissionError)
    hidden.remove(8)
    for elapsed_ns in (0, 10**9):
        now_ns[0] += 10**9
        assert waits.update([7, 8]) == (0, elapsed_ns)
    assert waits.error is None


def test_the_line_of_unreadable_waits() -> None:
    """The CPU time is measured, the wait is absent, and the error names the wait only."""

    def tasks(pid: int) -> dict[int, int]:
        raise PermissionError(1, "hidden")

    meter = CpuMeter(every_ns=0, waits=CpuWaits(read=tasks), check_accounting=lambda: None)
    us = {os.getpid()}
    for _ in range(3):
        assert meter.errors == {}
        meter.add(us)
        usage = meter.update(us)
    assert usage.used is not None
    assert usage.waited is None
    assert meter.errors == {"the time that workers wait for a CPU": "[Errno 1] hidden"}


def test_the_sum_since_the_first_reading() -> None:
    """The sum is that of all readings; a reading without a worker adds nothing."""
    now_ns, waited_ns = [0], [0]
    waits = CpuWaits(lambda: now_ns[0], lambda pid: {pid: waited_ns[0]})
    meter = CpuMeter(
        every_ns=0, clock_ns=lambda: now_ns[0], waits=waits, check_accounting=lambda: None
    )
    us = {os.getpid()}
    assert (meter.used.share, meter.waited.share) == (None, None)
    meter.add(us)
    for grown_ns in (0, 50, 40):
        now_ns[0] += 100
        waited_ns[0] += grown_ns
        assert meter.update(us).waited == grown_ns
        meter.update(())
    assert meter.waited == (90, 300)
    assert meter.used.elapsed_ns == 300
    assert meter.waited.share == 0.3
