"""The parts of the busy time: CPU time, waits for CPUs, and where these can't be read."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gunicorn_backlog.cli.advise.measure import shares
from gunicorn_backlog.cli.advise.measured import Shares
from gunicorn_backlog.kernel.schedstat import SchedStatError
from gunicorn_backlog.sampling.cpu import CpuMeter, CpuWaits


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


def read_twice(read: Callable[[int], dict[int, int]], check: Callable[[], None]) -> CpuMeter:
    """Return a meter that has read this process twice."""
    meter = CpuMeter(every_ns=0, waits=CpuWaits(read=read), check_accounting=check)
    for _ in range(2):
        meter.add({os.getpid()})
        meter.update({os.getpid()})
    return meter


def test_both_are_measured() -> None:
    """A process that runs uses CPU time; a wait of 0 is a wait."""
    meter = read_twice(zero, accounted)
    assert meter.used.share is not None
    assert (meter.used.share > 0, meter.waited.share) == (True, 0)


@pytest.mark.parametrize(
    ("read", "check"), [(unreadable, accounted), (zero, unaccounted)], ids=["hidden", "unaccounted"]
)
def test_waits_that_are_not_measured(
    read: Callable[[int], dict[int, int]], check: Callable[[], None]
) -> None:
    """The wait is absent, not 0, and so are the shares of the busy time."""
    meter = read_twice(read, check)
    assert meter.used.share is not None
    assert meter.waited.share is None
    assert shares(meter.used.share, meter.waited.share, 2, 1.5) is None


def test_shares() -> None:
    """CPU time and waits of all workers are parts of the load, or more than the load."""
    assert shares(0.25, 0.5, 2, 2.0) == Shares(0.25, 0.5, 0.25)
    assert shares(0.5, 0.5, 2, 1.0) == Shares(0.5, 0.5, 0)
    assert shares(0.5, 0.5, 2, None) is None
    assert shares(None, 0.5, 2, 1.0) is None
