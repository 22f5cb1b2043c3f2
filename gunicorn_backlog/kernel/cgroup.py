"""The cgroup's counter of processes that the OOM killer killed, of cgroup v1 and v2.

``/proc/self/cgroup`` has the paths of this process in each hierarchy (cgroups(7)), relative to the
root of the cgroup namespace. ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)) has the mount point
of each hierarchy, and the path of the cgroup that is mounted there. The counter is the line
``oom_kill`` of ``memory.oom_control`` (v1), or of ``memory.events`` (v2). The kernel raises the
counter before it kills the process (``__oom_kill_process`` in ``mm/oom_kill.c``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_FILES = {"cgroup": "memory.oom_control", "cgroup2": "memory.events"}


class Mount(NamedTuple):
    """A mounted hierarchy: type ``cgroup`` or ``cgroup2``, mounted cgroup, and mount point."""

    type: str
    root: str
    point: str


def decode_paths(text: str) -> dict[str, str]:
    """Return the paths of a process by mount type: of the memory controller, and of cgroup v2.

    :param text: of ``/proc/PID/cgroup``.
    """
    paths = {}
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            paths["cgroup2"] = path
        elif "memory" in controllers.split(","):
            paths["cgroup"] = path
    return paths


def decode_mounts(text: str) -> Iterator[Mount]:
    """Yield the mounts of cgroup v2, and of the memory controller of v1.

    :param text: of ``/proc/PID/mountinfo``.
    """
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        _, _, _, root, point, *_ = fields.split(" ")
        mount_type, _, options = rest.split(" ", 2)
        if mount_type == "cgroup2" or (mount_type == "cgroup" and "memory" in options.split(",")):
            yield Mount(mount_type, root, point)


def decode_oom_kills(text: str) -> int | None:
    """Return the counter in ``memory.oom_control`` or ``memory.events``; None: not there."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.isdecimal():
            return int(number)
    return None


class OomKills:
    """The counter of this process's cgroup, which its children share.

    file: has the counter; None: not found, for example in the root cgroup of v2.
    """

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self.file: Path | None = None
        with suppress(OSError, ValueError):
            mounts = decode_mounts((proc / "mountinfo").read_text())
            paths = decode_paths((proc / "cgroup").read_text())
            candidates = [
                _file(mount, paths[mount.type]) for mount in mounts if mount.type in paths
            ]
            self.file = next(filter(Path.exists, sorted(candidates, key=_v1_first)), None)

    def read(self) -> int | None:
        """Return the counter; None if unreadable."""
        with suppress(OSError, ValueError):
            if self.file is not None:
                return decode_oom_kills(self.file.read_text())
        return None


def _file(mount: Mount, path: str) -> Path:
    """Return the counter's file; in a container the mounted cgroup may be the process's own."""
    below = os.path.relpath(path, mount.root)
    folder = Path(mount.point) if below.startswith("..") else Path(mount.point) / below
    return folder / _FILES[mount.type]


def _v1_first(file: Path) -> bool:
    """Sort v1 first: if both are mounted, the memory controller belongs to v1."""
    return file.name != _FILES["cgroup"]
