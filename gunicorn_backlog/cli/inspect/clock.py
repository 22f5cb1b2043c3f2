"""CLOCK_MONOTONIC of another process, which may be in a time namespace."""

from __future__ import annotations

import errno
import os
import time

from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect.procfs import parent
from gunicorn_backlog.kernel.proc_net import PROC


class Clock:
    """CLOCK_MONOTONIC of a process; a time namespace shifts it (time_namespaces(7)).

    The constructor raises EndedError, and InspectError if the offset can't be read.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._ahead_ns = _offset_ns(pid) - _offset_ns(os.getpid())
        except (FileNotFoundError, ProcessLookupError):
            raise EndedError(pid) from None
        except OSError as error:
            raise InspectError(f"the process {pid} can't be read: {error.strerror}") from None

    def now_ns(self) -> int:
        """Return the process's CLOCK_MONOTONIC in ns."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) + self._ahead_ns

    def of(self, started_ns: int) -> int:
        """Return the process's CLOCK_MONOTONIC in ns at a time of CLOCK_BOOTTIME.

        CLOCK_BOOTTIME includes the time of a suspend, CLOCK_MONOTONIC does not.

        :param started_ns: of CLOCK_BOOTTIME, as of ``procfs.started_ns``.
        """
        return self.now_ns() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started_ns)


def _offset_ns(pid: int) -> int:
    """Return the offset in ns of CLOCK_MONOTONIC in a process's time namespace. Raises OSError."""
    try:
        text = (PROC / str(pid) / "timens_offsets").read_text()
    except FileNotFoundError:
        parent(pid)  # raises if the process has ended; otherwise the kernel has no time namespaces
        return 0
    lines = [line.split() for line in text.splitlines() if line.startswith("monotonic")]
    if not lines:  # a zombie has no namespaces
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return int(lines[0][1]) * 1_000_000_000 + int(lines[0][2])
