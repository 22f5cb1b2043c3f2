"""CLOCK_MONOTONIC of another process, which may be in a time namespace."""

from __future__ import annotations

import errno
import os
import time

from gunicorn_backlog.cli.inspect.procfs import parent
from gunicorn_backlog.kernel.proc_net import PROC


class Clock:
    """CLOCK_MONOTONIC as a process has it: in a time namespace (time_namespaces(7)) it is another.

    Raises OSError.
    """

    def __init__(self, pid: int) -> None:
        self._ahead_ns = _offset_ns(pid) - _offset_ns(os.getpid())

    def now_ns(self) -> int:
        """Return what it says now."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) + self._ahead_ns

    def of(self, began_ns: int) -> int:
        """Return what it said when a process began, see ``started_ns``.

        The time for which the machine was suspended is in one clock, and not in the other.
        """
        return self.now_ns() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - began_ns)


def _offset_ns(pid: int) -> int:
    """Return the offset of CLOCK_MONOTONIC in a process's time namespace."""
    try:
        text = (PROC / str(pid) / "timens_offsets").read_text()
    except FileNotFoundError:
        parent(pid)  # raises, if it has ended; else the kernel has no time namespaces
        return 0
    lines = [it.split() for it in text.splitlines() if it.startswith("monotonic")]
    if not lines:  # a process that has ended has no namespaces, until its parent has waited for it
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return int(lines[0][1]) * 1_000_000_000 + int(lines[0][2])
