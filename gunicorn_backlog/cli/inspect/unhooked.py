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
from typing import NamedTuple

from gunicorn_backlog.cli.inspect import memory, procfs
from gunicorn_backlog.scoreboard.layout import MAGIC

_HEARTBEAT = "wgunicorn-"  # tempfile.mkstemp(prefix="wgunicorn-")


class _Process(NamedTuple):
    parent: int
    heartbeats: set[tuple[int, int]]  # device and inode of each file
    is_hooked: bool


def masters() -> list[int]:
    """Return the pids of arbiters that have workers, and lack our shared memory."""
    processes = _gunicorns()
    return [
        pid
        for pid, process in processes.items()
        if not process.is_hooked and _is_master(pid, processes)
    ]


def master_of(pid: int) -> int | None:
    """Return the arbiter in ``masters`` that a process is or descends from, or None."""
    return procfs.ancestor(pid, masters())


def _gunicorns() -> dict[int, _Process]:
    """Return the accessible processes that hold a heartbeat file."""
    found = {}
    for pid in procfs.pids():
        with suppress(OSError):  # the process has ended, or access is denied
            process = _process(pid)
            if process.heartbeats:
                found[pid] = process
    return found


def _process(pid: int) -> _Process:
    deleted = {path: link for path, link in procfs.descriptors(pid) if link.endswith(" (deleted)")}
    heartbeats = [path for path, link in deleted.items() if _is_heartbeat(link)]
    if not heartbeats:
        return _Process(0, set(), is_hooked=False)
    is_hooked = any(_is_ours(path, link) for path, link in deleted.items())
    inodes = {(status.st_dev, status.st_ino) for status in map(os.stat, heartbeats)}
    return _Process(procfs.parent(pid), inodes, is_hooked)


def _is_heartbeat(link: str) -> bool:
    return os.path.basename(link).startswith(_HEARTBEAT)


def _is_ours(path: str, link: str) -> bool:
    """Return whether a file is our shared memory: an unlinked file where memfd is refused."""
    if memory.is_link(link):
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


def _is_master(pid: int, processes: dict[int, _Process]) -> bool:
    """Return whether a process has a worker, and is no fork of another gunicorn.

    A worker's children inherit its files. gunicorn's dirty arbiter inherits the arbiter's files,
    and has workers of its own. The new arbiter of an upgrade is a child of the former one, but has
    called ``exec``.
    """
    process = processes[pid]
    with suppress(OSError):
        if process.parent in processes and procfs.is_forked_only(pid):
            return False
        return any(
            other.parent == pid and other.heartbeats & process.heartbeats
            for other in processes.values()
        )
    return False
