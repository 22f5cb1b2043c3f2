"""Threads, descriptors and memory of a process, from /proc."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

SCOREBOARD = "/memfd:gunicorn_backlog"


def our_threads(pid: int) -> list[int]:
    """Return the threads of an arbiter that block every signal: only our threads do.

    The thread of a look-up of the Agent's name is one of them. The main thread is excluded: it
    blocks signals while it starts our thread.
    """
    return [thread for thread in threads(pid) if thread != pid and _blocks_sigterm(pid, thread)]


def threads(pid: int) -> list[int]:
    """Return the ids of a process's threads."""
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def processes() -> set[int]:
    """Return the pids of all visible processes."""
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}


def children(pid: int) -> set[int]:
    """Return the pids of an arbiter's children: its workers, and the new master of an upgrade."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_alive(pid: int) -> bool:
    """Return whether the process runs; False for an ended process that was not reaped."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _blocks_sigterm(pid: int, thread: int) -> bool:
    with suppress(OSError):  # the thread has ended
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        return bool(field(status, "SigBlk", base=16) & (1 << (signal.SIGTERM - 1)))
    return False


def descriptors(pid: int) -> dict[int, str]:
    """Return the target of each open descriptor; one that is closed meanwhile is left out."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[int(entry.name)] = os.readlink(entry)
    return found


def scoreboards(pid: int) -> set[int]:
    """Return the inodes of the scoreboards that a process has open or mapped."""
    found = set()
    with suppress(OSError):  # the process has ended
        for fd, link in descriptors(pid).items():
            if SCOREBOARD in link:
                found.add(os.stat(f"/proc/{pid}/fd/{fd}").st_ino)
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        found |= {int(line.split()[4]) for line in maps if SCOREBOARD in line}
    return found


def resident_kb(pid: int) -> int:
    """Return the resident memory in kB."""
    return field(Path(f"/proc/{pid}/status").read_text(), "VmRSS")


def cpu_ns(pid: int, thread: int) -> int:
    """Return the CPU time of a thread."""
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process: ``utime`` and ``stime``, the numbers of pidstat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_own_handlers(worker_pid: int) -> bool:
    """Return whether a worker has replaced the arbiter's signal handlers by its own.

    Before that, a SIGTERM of the arbiter is lost, and a reload would wait for ever. The arbiter
    handles SIGHUP, and no worker does.
    """
    with suppress(OSError):
        status = Path(f"/proc/{worker_pid}/status").read_text()
        return not field(status, "SigCgt", base=16) & (1 << (signal.SIGHUP - 1))
    return False


def field(status: str, name: str, *, base: int = 10) -> int:
    """Return a number from the text of ``/proc/PID/status``."""
    (value,) = [line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(value, base)


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
