"""CPU time of the workers, and the time that their threads waited for a CPU.

The CPU clock of a worker is one call. The waits are one file per thread: a reading opens at most
about BUDGET files and folders, enough for 128 workers with one thread each. With more, a reading
covers a part of the workers in rotation. The mean is then that of this part, over the time since
each worker's former reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gunicorn_backlog.kernel.cpu_clock import cpu_ns
from gunicorn_backlog.kernel.schedstat import SchedStatError, check_accounting, waits_ns

EVERY_NS = 950_000_000  # at most one reading per second; a push may come some ms early
BUDGET = 256  # files and folders per reading; each takes 10 to 20 µs
_FAILURES_IN_A_ROW = 3
_CPU_TIME = "the CPU time of the workers"
_WAITS = "the time that workers wait for a CPU"


class CpuUsage(NamedTuple):
    """Means per worker, in percent of the time; None: not measured.

    used: CPU time of all threads.
    waited: time that threads were runnable, and waited for a CPU.
    """

    used: float | None = None
    waited: float | None = None


class Spent(NamedTuple):
    """Nanoseconds that workers spent of ``elapsed_ns``, all workers together."""

    spent_ns: int = 0
    elapsed_ns: int = 0

    @property
    def share(self) -> float | None:
        """Mean per worker, 0 to 1 or more; None: not measured."""
        return self.spent_ns / self.elapsed_ns if self.elapsed_ns else None

    @property
    def percent(self) -> float:
        """Mean per worker. Raises ZeroDivisionError if not measured."""
        return round(100 * self.spent_ns / self.elapsed_ns, 2)

    def plus(self, later: Spent) -> Spent:
        """Return the sum of two periods."""
        return Spent(self.spent_ns + later.spent_ns, self.elapsed_ns + later.elapsed_ns)


class CpuClocks:
    """The CPU clocks of the workers. ``error``: of the latest reading; None: one was readable."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._before: dict[int, tuple[int, int]] = {}  # time and CPU time, by pid
        self.error: OSError | None = None

    def add(self, pids: Collection[int]) -> None:
        """Read the new ones of the running workers, and forget those that have ended."""
        self._before = {pid: read for pid, read in self._before.items() if pid in pids}
        self._before |= self._read([pid for pid in pids if pid not in self._before])

    def update(self, pids: Collection[int]) -> Spent:
        """Return the CPU time since the former readings."""
        before, now = self._before, self._read(pids)
        self._before = before | now
        spans = [(before[pid], now[pid]) for pid in now if pid in before]
        grown = [(then, read) for then, read in spans if then[1] <= read[1]]  # others: a new worker
        spent_ns = sum(read[1] - then[1] for then, read in grown)
        return Spent(spent_ns, sum(read[0] - then[0] for then, read in grown))

    def _read(self, pids: Collection[int]) -> dict[int, tuple[int, int]]:
        read: dict[int, tuple[int, int]] = {}
        error = None
        for pid in pids:
            try:
                read[pid] = self._clock_ns(), cpu_ns(pid)
            except OSError as failure:  # the worker has ended, or the kernel has no such clock
                error = failure
        self.error = None if read else error
        return read


class CpuWaits:
    """The waits of the workers' threads, read within BUDGET. ``error``: as of ``CpuClocks``."""

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        read: Callable[[int], dict[int, int]] = waits_ns,
    ) -> None:
        self._clock_ns = clock_ns
        self._read_tasks = read
        # Time, and waits by thread; by pid, in the order of the readings.
        self._before: dict[int, tuple[int, Mapping[int, int]]] = {}
        self._left = BUDGET  # below 0 after a worker with many threads: the next readings are less
        self.error: Exception | None = None

    def add(self, pids: Collection[int]) -> None:
        """Read the new ones of the running workers, and forget those that have ended."""
        self._before = {pid: read for pid, read in self._before.items() if pid in pids}
        for pid in pids:
            if pid not in self._before and self._left > 0:
                self._read(pid)

    def update(self, pids: Collection[int]) -> Spent:
        """Return the waits since the former readings, of the workers within the budget."""
        self._left = min(BUDGET, self._left + BUDGET)
        before, self.error = self._before.copy(), None
        self.add(pids)
        spent_ns = elapsed_ns = 0
        for pid, (then_ns, then) in before.items():
            if self._left <= 0:
                break
            if pid in pids and (read := self._read(pid)):
                spent_ns += _waited_ns(then, read[1])
                elapsed_ns += read[0] - then_ns
        if elapsed_ns:
            self.error = None
        return Spent(spent_ns, elapsed_ns)

    def _read(self, pid: int) -> tuple[int, Mapping[int, int]] | None:
        self._left -= 1
        try:
            read = self._clock_ns(), self._read_tasks(pid)
        except (OSError, SchedStatError) as error:  # the worker has ended, or is hidden
            self.error = error
            return None
        self._left -= len(read[1])
        self._before.pop(pid, None)  # the key moves to the end: the last of the next readings
        self._before[pid] = read
        return read


def _waited_ns(before: Mapping[int, int], now: Mapping[int, int]) -> int:
    """Return the wait of all threads. A thread without a former wait, or below it, is new."""
    since_ns = 0
    for thread, waited_ns in now.items():
        former_ns = before.get(thread, 0)
        since_ns += waited_ns - (former_ns if former_ns <= waited_ns else 0)
    return since_ns


class CpuMeter:
    """Measures the workers' use of CPUs between two readings.

    used, waited: sums of all readings.
    errors: the reason why a number is not measured, by the number's name; empty: none is known.
    """

    def __init__(
        self,
        *,
        every_ns: int = EVERY_NS,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        waits: CpuWaits | None = None,
        check_accounting: Callable[[], None] = check_accounting,
    ) -> None:
        self._every_ns = every_ns
        self._clock_ns = clock_ns
        self._clocks, self._waits = CpuClocks(clock_ns), waits or CpuWaits(clock_ns)
        self.used = self.waited = Spent()
        self._usage = CpuUsage()
        self._read_ns: int | None = None
        self._failures = 0
        self.errors: dict[str, str] = {}
        try:
            check_accounting()
            self._is_accounted = True
        except SchedStatError as error:
            self._is_accounted = False
            self.errors[_WAITS] = str(error)

    def add(self, pids: Collection[int]) -> None:
        """Read the new ones of the running workers: they count from now on."""
        self._clocks.add(pids)
        if self._is_accounted:
            self._waits.add(pids)

    def update(self, pids: Collection[int]) -> CpuUsage:
        """Return the usage since the former reading; the former usage if this is too early.

        :param pids: the running workers.
        """
        now_ns = self._clock_ns()
        if not pids:
            self._usage = CpuUsage()
        elif self._read_ns is None or now_ns - self._read_ns >= self._every_ns:
            self._read_ns = now_ns
            self._usage = self._read(pids)
        return self._usage

    def _read(self, pids: Collection[int]) -> CpuUsage:
        used, waited = self._usage
        if (spent := self._clocks.update(pids)).elapsed_ns:
            used, self.used = spent.percent, self.used.plus(spent)
        if self._is_accounted and (spent := self._waits.update(pids)).elapsed_ns:
            waited, self.waited = spent.percent, self.waited.plus(spent)
        found = {_CPU_TIME: self._clocks.error, _WAITS: self._waits.error}
        failed = {name: str(error) for name, error in found.items() if error}
        self._failures = self._failures + 1 if failed else 0
        if self._failures < _FAILURES_IN_A_ROW:
            return CpuUsage(used, waited)
        self.errors |= failed
        return CpuUsage(None if _CPU_TIME in failed else used, None if _WAITS in failed else waited)
