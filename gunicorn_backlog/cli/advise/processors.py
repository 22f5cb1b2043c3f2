"""The workers' CPU time and waits for CPUs, reading by reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gunicorn_backlog.kernel.schedstat import SchedStatError, check_accounting
from gunicorn_backlog.sampling.cpu import CpuClocks, CpuWaits


class CpuTimes(NamedTuple):
    """CPUs used and waited for, mean per worker; None: not measured."""

    used: float | None
    waited: float | None


class Processors:
    """Collects the CPU time and the waits of the running workers."""

    def __init__(
        self,
        *,
        waits: CpuWaits | None = None,
        check_accounting: Callable[[], None] = check_accounting,
    ) -> None:
        self._clocks, self._waits = CpuClocks(), waits or CpuWaits()
        self._used_ns = self._used_of_ns = self._waited_ns = self._waited_of_ns = 0
        try:
            check_accounting()
            self._is_accounted = True
        except SchedStatError:
            self._is_accounted = False

    def add(self, pids: set[int]) -> None:
        """Read the running workers."""
        self._clocks.add(pids)
        used_ns, used_of_ns = self._clocks.update(pids)
        self._used_ns += used_ns
        self._used_of_ns += used_of_ns
        if self._is_accounted:
            waited_ns, waited_of_ns = self._waits.update(pids)
            self._waited_ns += waited_ns
            self._waited_of_ns += waited_of_ns

    def per_worker(self) -> CpuTimes:
        """Return the means since the first reading."""
        return CpuTimes(
            self._used_ns / self._used_of_ns if self._used_of_ns else None,
            self._waited_ns / self._waited_of_ns if self._waited_of_ns else None,
        )
