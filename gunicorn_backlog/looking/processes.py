"""What ``/proc`` says of processes (proc(5)); pids are those of the namespace we are in.

Of a process that has ended, or ends meanwhile, all functions raise ProcessLookupError or
FileNotFoundError; of one that we may not look into, PermissionError.
"""

from __future__ import annotations

import errno
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gunicorn_backlog.about import printable

PROC = Path("/proc")
_FORKED_ONLY = 0x40  # PF_FORKNOEXEC, include/linux/sched.h


def are_seen() -> bool:
    """Tell whether there is a ``/proc``: Linux has one, as a rule."""
    return (PROC / "self" / "fd").exists()


def pids() -> list[int]:
    """Return all processes that can be seen from here."""
    return sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())


def status(pid: int) -> dict[str, str]:
    """Return the fields of ``/proc/PID/status``."""
    lines = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def own_pid(pid: int) -> int:
    """Return a process's pid as it is in the innermost pid namespace that it is in."""
    return int(status(pid).get("NSpid", str(pid)).split()[-1])


def uid(pid: int) -> int:
    """Return the effective user id of a process."""
    return int(status(pid)["Uid"].split()[1])


def user(pid: int) -> str:
    """Return the name of the user that a process runs as, or the number."""
    number = uid(pid)
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def command(pid: int) -> str:
    """Return a process's command line, printable; empty for a thread of the kernel's."""
    octets = (PROC / str(pid) / "cmdline").read_bytes()
    return printable(octets.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"))


def parent(pid: int) -> int:
    """Return the parent's pid; 0: it is outside of our pid namespace."""
    return int(_stat(pid)[1])


def started_ns(pid: int) -> int:
    """Return when a process began, in ns of CLOCK_BOOTTIME; rounded down, to 10 ms as a rule."""
    return int(_stat(pid)[19]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def age_s(began_ns: int) -> float:
    """Return how long ago ``started_ns`` was."""
    return max(0.0, (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - began_ns) / 1e9)


def children(pid: int) -> list[int]:
    """Return a process's children, as its main thread has forked them."""
    try:
        return list(map(int, (PROC / f"{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        parent(pid)  # raises, if it has ended; else the kernel has no such file
        return [it for it in pids() if _is_child(it, pid)]


def is_forked_only(pid: int) -> bool:
    """Tell whether a process still is the program that its parent was when it forked it."""
    state, *_ = fields = _stat(pid)
    return state not in "ZX" and bool(int(fields[6]) & _FORKED_ONLY)


def descriptors(pid: int) -> Iterator[tuple[str, str]]:
    """Yield the path in ``/proc`` of each open descriptor, and what it stands for."""
    folder = PROC / str(pid) / "fd"
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            yield f"{folder}/{name}", os.readlink(folder / name)


def namespace(pid: int, kind: str) -> str:
    """Return which namespace of a kind (``net``, ``pid``, ``time``) a process is in."""
    return os.readlink(PROC / str(pid) / "ns" / kind)


def _is_child(pid: int, of: int) -> bool:
    with suppress(OSError):
        return parent(pid) == of
    return False


def _stat(pid: int) -> list[str]:
    """Return ``/proc/PID/stat`` from the state on: the name before it may hold anything."""
    return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


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
