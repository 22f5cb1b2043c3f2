"""Finds masters of gunicorn without our shared memory: our hooks did not run, or are disabled.

A master makes a file for the heartbeat of each worker (``gunicorn/workers/workertmp.py``), which
both hold open. This shows embedded gunicorns, too, whose command lines may not mention it. The
first of these files is made after ``when_ready``: a master that has one has run all that it will.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from gunicorn_backlog.cli.inspect import procfs
from gunicorn_backlog.cli.inspect.memory import NAME
from gunicorn_backlog.scoreboard.layout import MAGIC

_HEARTBEAT = "wgunicorn-"  # tempfile.mkstemp(prefix="wgunicorn-")
_DELETED = " (deleted)"


class _Process(NamedTuple):
    parent: int
    heartbeats: set[tuple[int, int]]  # device and inode of each file
    is_hooked: bool


def masters() -> list[int]:
    """Return the pids of masters that have workers, and lack our shared memory."""
    found = _gunicorns()
    return [pid for pid, it in found.items() if not it.is_hooked and _is_master(pid, found)]


def master_of(pid: int) -> int | None:
    """Return which of these masters a process is or belongs to."""
    there = masters()
    with suppress(OSError):  # it has ended
        while pid and pid not in there:
            pid = procfs.parent(pid)
    return pid if pid in there else None


def _gunicorns() -> dict[int, _Process]:
    """Return the processes that hold a heartbeat's file, as far as they may be looked at."""
    found = {}
    for pid in procfs.pids():
        with suppress(OSError):  # it has ended, or is another user's
            process = _process(pid)
            if process.heartbeats:
                found[pid] = process
    return found


def _process(pid: int) -> _Process:
    deleted = [it for it in procfs.descriptors(pid) if it[1].endswith(_DELETED)]
    heartbeats = [path for path, link in deleted if _is_heartbeat(link)]
    if not heartbeats:
        return _Process(0, set(), is_hooked=False)
    is_hooked = any(_is_ours(path, link) for path, link in deleted)
    inodes = {(it.st_dev, it.st_ino) for it in map(os.stat, heartbeats)}
    return _Process(procfs.parent(pid), inodes, is_hooked)


def _is_heartbeat(link: str) -> bool:
    return os.path.basename(link).startswith(_HEARTBEAT)


def _is_ours(path: str, link: str) -> bool:
    """Return whether it is our shared memory: where memfd is refused, a file without a name."""
    if link.removesuffix(_DELETED) == NAME:
        return True
    with suppress(OSError):
        status = os.stat(path)
        if not _is_heartbeat(link) and stat.S_ISREG(status.st_mode):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return os.pread(fd, len(MAGIC), 0) == MAGIC
            finally:
                os.close(fd)
    return False


def _is_master(pid: int, found: dict[int, _Process]) -> bool:
    """Return whether it has a worker, and was not forked by a gunicorn.

    A worker's own children hold what it holds. So does gunicorn's dirty arbiter, which has workers
    of its own. The new master of an upgrade is a gunicorn's child, too, but has executed anew.
    """
    process = found[pid]
    with suppress(OSError):
        if process.parent in found and procfs.is_forked_only(pid):
            return False
        return any(it.parent == pid and it.heartbeats & process.heartbeats for it in found.values())
    return False
