"""``/proc/PID/task/TID/schedstat``: the time that a thread waited for a CPU.

Three decimal numbers (``Documentation/scheduler/sched-stats.rst``):

======  =====================  ==================================================================
column  field                  meaning
======  =====================  ==================================================================
0       sum_exec_runtime       ns on a CPU
1       run_delay              ns runnable, and waiting for a CPU
2       pcount                 number of times on a CPU
======  =====================  ==================================================================

All are 0 where the kernel does not account. Threads that have ended have no file. Every user may
read the files, unless ``/proc`` is mounted with ``hidepid``.
"""

from __future__ import annotations

import os
from contextlib import suppress

from gunicorn_backlog.kernel.proc_net import PROC

_LONGEST = 128  # bytes of the file, at most 63


class SchedStatError(Exception):
    """The kernel does not account the time that threads wait for a CPU."""


def decode(octets: bytes) -> tuple[int, int]:
    """Return the ns on a CPU, and the ns waiting for one. Raises SchedStatError."""
    fields = octets.split()
    if len(fields) != 3 or not all(field.isdigit() for field in fields):
        raise SchedStatError("schedstat has not three numbers")
    return int(fields[0]), int(fields[1])


def check_accounting() -> None:
    """Raise SchedStatError if the kernel does not account, or hides the file."""
    try:
        ran_ns, _ = decode(_read(f"{PROC}/self/schedstat"))
    except OSError as error:
        raise SchedStatError(f"/proc/self/schedstat: {error.strerror}") from None
    if not ran_ns:
        raise SchedStatError("this kernel does not account it (CONFIG_SCHEDSTATS)")


def waits_ns(pid: int) -> dict[int, int]:
    """Return the ns that each thread of a process has waited for a CPU, by the thread's id.

    Raises OSError if the process has ended or is hidden, and SchedStatError.
    """
    folder = f"{PROC}/{pid}/task"
    found = {}
    for name in os.listdir(folder):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            _, found[int(name)] = decode(_read(f"{folder}/{name}/schedstat"))
    return found


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LONGEST)
    finally:
        os.close(fd)
