"""The CPUs that a process may use: its affinity, and the quota of its cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from gunicorn_backlog.kernel.proc_net import PROC

CGROUPS = Path("/sys/fs/cgroup")


def cpus(pid: int, root: Path = CGROUPS) -> float:
    """Return the number of CPUs that a process may use at a time. Raises OSError."""
    affinity = os.sched_getaffinity(pid)
    return min([len(affinity), *quotas(_cgroups(pid), root)])


def _cgroups(pid: int) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / "cgroup").read_text()
    return ""


def quotas(text: str, root: Path = CGROUPS) -> Iterator[float]:
    """Yield the quotas of the cgroups of ``/proc/PID/cgroup`` and of those above (cgroups(7)).

    A path that does not exist here belongs to another cgroup namespace.
    """
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root if not controllers else root / "cpu"
        for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
            with suppress(OSError, ValueError, ZeroDivisionError):
                yield _quota(top / str(folder).lstrip("/"), is_v2=not controllers)


def _quota(folder: Path, *, is_v2: bool) -> float:
    """Return a cgroup's quota in CPUs. Raises OSError, and ValueError if there is none."""
    if is_v2:
        quota, period = (folder / "cpu.max").read_text().split()
    else:
        quota = (folder / "cpu.cfs_quota_us").read_text()
        period = (folder / "cpu.cfs_period_us").read_text()
    if int(quota) <= 0:
        raise ValueError
    return int(quota) / int(period)
