"""Network namespaces: netlink finds a socket only in the socket's own namespace."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gunicorn_backlog.cli.inspect import procfs

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


def is_ours(pid: int, kind: str = "net") -> bool:
    """Return whether a process shares our namespace of that kind. Raises OSError.

    :param kind: a name in ``/proc/PID/ns``, for example ``net`` or ``mnt``.
    """
    return procfs.namespace(pid, kind) == procfs.namespace(os.getpid(), kind)


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Move this thread into a process's network namespace, and back at the end. Raises OSError.

    A namespace other than ours requires CAP_SYS_ADMIN.
    """
    if is_ours(pid):
        yield
        return
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            yield
        finally:
            _enter(ours)
    finally:
        os.close(ours)


def _enter(fd: int) -> None:
    """Call ``setns`` by ctypes: ``os.setns`` exists only since Python 3.12. Raises OSError."""
    setns: Callable[[int, int], int] = ctypes.CDLL(None, use_errno=True).setns
    if setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
