"""Finds masters of gunicorn without our shared memory: our hooks did not run, or are disabled.

A master creates a file for the heartbeat of each worker (``gunicorn/workers/workertmp.py``), and
both hold it open. This also finds embedded gunicorns, whose command lines may not contain the
name. The first of these files is created after ``when_ready``: a master that has one has run that
hook, if it has any.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from gunicorn_backlog.cli.inspect import memory, procfs
from gunicorn_backlog.scoreboard.layout import MAGIC

_HEARTBEAT = "wgunicorn-"  # tempfile.mkstemp(prefix="wgunicorn-")


def masters() -> list[int]:
    """Return the pids of masters that have workers, and lack our shared memory."""
    heartbeats: dict[int, set[tuple[int, int]]] = {}  # device and inode of each file, by pid
    hooked = set()
    for pid in procfs.pids():
        with suppress(OSError):  # it has ended, or access is denied
            links = dict(procfs.descriptors(pid))
            files = [path for path, link in links.items() if _is_heartbeat(link)]
            if files:
                heartbeats[pid] = {(it.st_dev, it.st_ino) for it in map(os.stat, files)}
                if any(_is_ours(path, link) for path, link in links.items()):
                    hooked.add(pid)
    return [pid for pid in heartbeats if pid not in hooked and _is_master(pid, heartbeats)]


def master_of(pid: int) -> int | None:
    """Return the master of ``masters`` that a process is or descends from; None: there is none."""
    return procfs.ancestor(pid, masters())


def _is_heartbeat(link: str) -> bool:
    return os.path.basename(link).startswith(_HEARTBEAT) and link.endswith(" (deleted)")


def _is_ours(path: str, link: str) -> bool:
    """Return whether it is our shared memory: an unlinked file where memfd is refused."""
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
    """Return whether it has a worker, and was not merely forked by a gunicorn.

    A worker's own children inherit its files. gunicorn's dirty arbiter does, too, and has workers
    of its own. The new master of an upgrade is a gunicorn's child, but has called ``exec``.
    """
    with suppress(OSError):
        if procfs.parent(pid) in heartbeats and procfs.is_forked_only(pid):
            return False
        children = [child for child in procfs.children(pid) if child in heartbeats]
        return any(heartbeats[child] & heartbeats[pid] for child in children)
    return False
