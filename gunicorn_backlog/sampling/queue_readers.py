"""Readers of one listener's accept queue, one class per kernel interface."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import Any

from gunicorn_backlog.kernel import so_meminfo, sock_diag, tcp_info
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError, merge
from gunicorn_backlog.sampling.bind import family_of
from gunicorn_backlog.sampling.drops import Drops

ALLOW = "allow {} in the seccomp profile or sandbox that {} runs in"
NETLINK = "socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)"
_NETLINK_READERS = frozenset({"inet_diag", "unix_diag"})


class QueueReader(ABC):
    """A reader of one listener. The methods raise OSError and QueueError, and never wait.

    name: the kernel interface.
    drops: shared by all readers of one listener, since a socket has one counter and one base line.
    """

    name = ""

    def __init__(self, sock: Any = None, drops: Drops | None = None) -> None:
        self._sock = sock
        self.drops = drops or Drops()

    @abstractmethod
    def queue(self) -> AcceptQueue | None:
        """Return the current queue; None: no socket listens, or the queue is not read this time."""

    def note_drops(self) -> None:  # noqa: B027  # likewise
        """Add the kernel's counter, if the socket has one, to ``drops``."""

    def begin_interval(self) -> None:  # noqa: B027  # nothing to do for most readers
        """Allow ``queue`` to read again after a costly read."""


class TcpInfo(QueueReader):
    """A TCP socket of this process, by ``getsockopt``."""

    name = "TCP_INFO"

    def queue(self) -> AcceptQueue:
        """Read ``TCP_INFO``."""
        return tcp_info.read(self._sock)

    def note_drops(self) -> None:
        """Read ``SO_MEMINFO``."""
        self.drops.add({0: so_meminfo.read(self._sock)})


class InetDiag(QueueReader):
    """A TCP socket of this process, by ``inet_diag``: for sandboxes that refuse ``getsockopt``."""

    name = "inet_diag"

    def queue(self) -> AcceptQueue:
        """Find the socket by its inode."""
        return self._listener().queue

    def note_drops(self) -> None:
        """Find the socket by its inode."""
        drops = self._listener().drops
        if drops is not None:
            self.drops.add({0: drops})

    def _listener(self) -> sock_diag.InetListener:
        inode = os.fstat(self._sock.fileno()).st_ino
        port = self._sock.getsockname()[1]
        return sock_diag.inet_listener(self._sock.family, port, inode)


class UnixDiag(QueueReader):
    """A Unix socket by ``unix_diag``; no drops are counted, since refused clients get EAGAIN."""

    name = "unix_diag"

    def queue(self) -> AcceptQueue:
        """Find the socket by its inode."""
        return sock_diag.unix_queue(os.fstat(self._sock.fileno()).st_ino)


class ReusePortReader(QueueReader):
    """An address at which each worker has a socket (``reuse_port``), by ``inet_diag``.

    lengths: of each socket's queue by inode, in the latest read.
    """

    name = "inet_diag"

    def __init__(self, host: str, port: int) -> None:
        """Take a numeric host, as the kernel prints it."""
        super().__init__()
        self.lengths: dict[int, int] = {}
        self._host, self._port = host, port
        self._family = family_of(host)

    def queue(self) -> AcceptQueue | None:
        """Return the sum of the queues; note the drops, too: a counter ends with its worker."""
        listeners = sock_diag.inet_listeners(self._family, self._port)
        listeners = [listener for listener in listeners if listener.host == self._host]
        self.lengths = {listener.inode: listener.queue.length for listener in listeners}
        drops = {listener.inode: listener.drops for listener in listeners}
        self.drops.add({inode: count for inode, count in drops.items() if count is not None})
        return merge([listener.queue for listener in listeners]) if listeners else None


class UnreadableListener(QueueReader):
    """A listener that can't be read, for a known reason."""

    name = "unreadable"

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why

    def queue(self) -> AcceptQueue:
        """Raise QueueError."""
        raise QueueError(self._why)


def remedy(reader: str, error: OSError | QueueError) -> str:
    """Return the remedy for a failed reader; empty if none is known."""
    if reader in _NETLINK_READERS and isinstance(error, OSError):
        return remedy_of_netlink(error, "the server")
    return ""


def remedy_of_netlink(error: OSError, whose: str) -> str:
    """Return the remedy for refused netlink; empty if none is known.

    systemd makes ``socket()`` fail with EAFNOSUPPORT (systemd.exec(5)).

    :param whose: the process in the unit or sandbox, for the text.
    """
    if error.errno == errno.EAFNOSUPPORT:
        return (
            f"add AF_NETLINK to RestrictAddressFamilies= of the systemd unit that {whose} runs in"
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return ALLOW.format(NETLINK, whose)
    return ""
