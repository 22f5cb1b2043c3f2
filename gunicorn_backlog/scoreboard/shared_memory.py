"""Memory that a process shares only with the processes that it forks.

On Linux a memfd, elsewhere an unlinked temporary file. The memory has no name in a file system, and
ends with the last process that maps it. Only the same user may open the memory, by
``/proc/PID/fd``.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress


def create(name: str, size: int) -> tuple[int, mmap.mmap]:
    """Return descriptor and mapping of ``size`` zero bytes. Raises OSError."""
    fd, allocate = _anonymous_file(name)
    try:
        os.fchmod(fd, 0o600)
        allocate(fd, size)
        _seal(fd)
        return fd, mmap.mmap(fd, size)
    except OSError:
        os.close(fd)
        raise


def _anonymous_file(name: str) -> tuple[int, Callable[[int, int], None]]:
    """Return a descriptor, and the function that allocates its bytes."""
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), os.ftruncate
    except (AttributeError, OSError):  # not Linux; an old kernel; refused by seccomp
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno()), _fill


def _fill(fd: int, size: int) -> None:
    """Allocate a file on its disk: a store to a page without disk space kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    elif os.write(fd, bytes(size)) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _seal(fd: int) -> None:
    """Fix the size: a process that shrank the file would kill all others at their next access.

    All workers inherit the descriptor, and may run as different users.
    """
    with suppress(AttributeError, OSError):  # not Linux; no memfd
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
