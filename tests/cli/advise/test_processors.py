"""CPU time and waits for CPUs: of this process, and where the waits can't be read."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gunicorn_backlog.cli.advise.measure import shares
from gunicorn_backlog.cli.advise.measured import Shares
from gunicorn_backlog.cli.advise.processors import CpuTimes, Processors
from gunicorn_backlog.kernel.schedstat import SchedStatError
from gunicorn_backlog.sampling.cpu import CpuWaits


def accounted() -> None:
    """Accept the kernel."""


def unaccounted() -> None:
    """Raise the error of a kernel that does not account."""
    raise SchedStatError("this kernel does not account it (CONFIG_SCHEDSTATS)")


def unreadable(pid: int) -> dict[int, int]:
    """Raise the error of a process that is hidden."""
    raise PermissionError(pid)


def zero(pid: int) -> dict[int, int]:
    """Return no wait of a thread, as a kernel that does not account."""
    return {pid: 0}


def read_twice(processors: Processors) -> CpuTimes:
    """Return the times of this process."""
    for _ in range(2):
        processors.add({os.getpid()})
    return processors.per_worker()


def test_both_are_measured() -> None:
    """A process that runs uses CPU time; a wait of 0 is a wait."""
    times = read_twice(Processors(waits=CpuWaits(read=zero), check_accounting=accounted))
    assert times.used is not None
    assert (times.used > 0, times.waited) == (True, 0)


@pytest.mark.parametrize(
    ("read", "check"), [(unreadable, accounted), (zero, unaccounted)], ids=["hidden", "unaccounted"]
)
def test_waits_that_are_not_measured(
    read: Callable[[int], dict[int, int]], check: Callable[[], None]
) -> None:
    """The wait is absent, not 0, and so are the shares of the busy time."""
    times = read_twice(Processors(waits=CpuWaits(read=read), check_accounting=check))
    assert times.used is not None
    assert times.waited is None
    assert shares(times, 2, 1.5) is None


def test_shares() -> None:
    """CPU time and waits of all workers are parts of the load, or more than the load."""
    assert shares(CpuTimes(0.25, 0.5), 2, 2.0) == Shares(0.25, 0.5, 0.25)
    assert shares(CpuTimes(0.5, 0.5), 2, 1.0) == Shares(0.5, 0.5, 0)
    assert shares(CpuTimes(0.5, 0.5), 2, None) is None
    assert shares(CpuTimes(None, 0.5), 2, 1.0) is None
