"""Processes as ``/proc`` shows them (proc(5)); pids are those of our own pid namespace.

All functions raise ProcessLookupError or FileNotFoundError if the process has ended, and
PermissionError if access to the process is denied.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from gunicorn_backlog.config.tags import printable
from gunicorn_backlog.kernel.proc_net import PROC

_FORKED_ONLY = 0x40  # PF_FORKNOEXEC, include/linux/sched.h


def exists() -> bool:
    """Return whether ``/proc`` is mounted, as on nearly every Linux."""
    return (PROC / "self" / "fd").exists()


def pids() -> list[int]:
    """Return the pids of all visible processes, in order."""
    return sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())


def status(pid: int) -> dict[str, str]:
    """Return the fields of ``/proc/PID/status``."""
    lines = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def own_pid(pid: int) -> int:
    """Return a process's pid in the innermost pid namespace that the process is in."""
    return int(status(pid).get("NSpid", str(pid)).split()[-1])


def uid(pid: int) -> int:
    """Return the effective user id of a process."""
    return int(status(pid)["Uid"].split()[1])


def user(pid: int) -> str:
    """Return the user name of a process, or ``uid N`` if the user has no name."""
    number = uid(pid)
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def command(pid: int) -> str:
    """Return a process's command line, printable; empty for a kernel thread."""
    octets = (PROC / str(pid) / "cmdline").read_bytes()
    return printable(octets.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"))


def parent(pid: int) -> int:
    """Return the parent's pid; 0: the parent is outside of our pid namespace."""
    return int(_stat(pid)[1])


def ancestor(pid: int, wanted: Collection[int]) -> int | None:
    """Return the first of a process and its ancestors that is in ``wanted``, or None."""
    with suppress(OSError):  # a process has ended
        while pid and pid not in wanted:
            pid = parent(pid)
    return pid if pid in wanted else None


def started_ns(pid: int) -> int:
    """Return a process's start in ns of CLOCK_BOOTTIME, rounded down to a tick (mostly 10 ms)."""
    return int(_stat(pid)[19]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def age_s(started_ns: int) -> float:
    """Return the seconds since ``started_ns``."""
    return max(0.0, (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started_ns) / 1e9)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children, those that its main thread forked."""
    try:
        return list(map(int, (PROC / f"{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        parent(pid)  # raises if the process has ended; else the kernel lacks CONFIG_PROC_CHILDREN
        return [other for other in pids() if _is_child(other, pid)]


def is_forked_only(pid: int) -> bool:
    """Return whether a process runs and has called no ``exec`` since its fork."""
    state, *_ = fields = _stat(pid)
    return state not in "ZX" and bool(int(fields[6]) & _FORKED_ONLY)


def descriptors(pid: int) -> Iterator[tuple[str, str]]:
    """Yield the path in ``/proc`` of each open descriptor, and the target of that link."""
    folder = PROC / str(pid) / "fd"
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            yield f"{folder}/{name}", os.readlink(folder / name)


def namespace(pid: int, kind: str) -> str:
    """Return a process's namespace of a kind, for example ``net`` or ``mnt`` (namespaces(7))."""
    return os.readlink(PROC / str(pid) / "ns" / kind)


def _is_child(pid: int, of: int) -> bool:
    with suppress(OSError):
        return parent(pid) == of
    return False


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the name, which may have any character."""
    return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
