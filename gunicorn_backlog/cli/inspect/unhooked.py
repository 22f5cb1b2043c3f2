"""Finds arbiters without our shared memory: our hooks did not run, or are disabled.

An arbiter creates a heartbeat file for each worker (``gunicorn/workers/workertmp.py``), and both
hold the file open. Embedded gunicorns are found, too, although their command lines may lack the
name. gunicorn creates the first heartbeat file after ``when_ready``: a found arbiter has called
this hook.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from gunicorn_backlog.cli.inspect import memory, procfs
from gunicorn_backlog.scoreboard.layout import MAGIC

_HEARTBEAT = "wgunicorn-"  # tempfile.mkstemp(prefix="wgunicorn-")


def masters() -> list[int]:
    """Return the pids of arbiters that have workers, and lack our shared memory."""
    heartbeats: dict[int, set[tuple[int, int]]] = {}  # device and inode of each file, by pid
    hooked = set()
    for pid in procfs.pids():
        with suppress(OSError):  # the process has ended, or access is denied
            links = dict(procfs.descriptors(pid))
            files = [path for path, link in links.items() if _is_heartbeat(link)]
            if files:
                heartbeats[pid] = {(it.st_dev, it.st_ino) for it in map(os.stat, files)}
                if any(_is_ours(path, link) for path, link in links.items()):
                    hooked.add(pid)
    return [pid for pid in heartbeats if pid not in hooked and _is_master(pid, heartbeats)]


def _is_heartbeat(link: str) -> bool:
    return os.path.basename(link).startswith(_HEARTBEAT) and link.endswith(" (deleted)")


def _is_ours(path: str, link: str) -> bool:
    """Return whether a file is our shared memory: an unlinked file where memfd is refused."""
    if memory.is_link(link):
        return True
    with suppress(OSError):
        if not link.endswith(" (deleted)") or not stat.S_ISREG(os.stat(path).st_mode):
            return False
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.pread(fd, len(MAGIC), 0) == MAGIC
        finally:
            os.close(fd)
    return False


def _is_master(pid: int, heartbeats: dict[int, set[tuple[int, int]]]) -> bool:
    """Return whether a process has a worker, and is no fork of another gunicorn.

    A worker's children inherit its files. gunicorn's dirty arbiter inherits the arbiter's files,
    and has workers of its own. The new arbiter of an upgrade is a child of the former one, but has
    called ``exec``.
    """
    with suppress(OSError):
        if procfs.parent(pid) in heartbeats and procfs.is_forked_only(pid):
            return False
        children = [child for child in procfs.children(pid) if child in heartbeats]
        return any(heartbeats[child] & heartbeats[pid] for child in children)
    return False
