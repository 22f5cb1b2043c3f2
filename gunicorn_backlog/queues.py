"""The ways to read a listener's accept queue."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from gunicorn_backlog import so_meminfo, sock_diag, tcp_info
from gunicorn_backlog.accept_queue import AcceptQueue, QueueError


class Way(Protocol):
    """One way to read a listener. What it offers raises OSError and QueueError, and never waits."""

    name: str

    @property
    def queue(self) -> Callable[[], AcceptQueue | None]:
        """Return, when called, the queue as it is now; None: there is none yet."""

    def drops(self) -> Mapping[int, int]:
        """Return the connections that each socket dropped since it was made, modulo 2**32.

        The keys tell sockets apart; empty: the kernel does not count drops of this kind of socket.
        """


class TcpInfo:
    """A TCP socket that this process holds, by ``getsockopt``."""

    name = "TCP_INFO"

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.queue = partial(tcp_info.read, sock)  # called for each sample: no method around it

    def drops(self) -> Mapping[int, int]:
        """Read ``SO_MEMINFO``."""
        return {0: so_meminfo.read(self._sock)}


class InetDiag:
    """A TCP socket that this process holds, by ``inet_diag``: where ``getsockopt`` is refused."""

    name = "inet_diag"

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def queue(self) -> AcceptQueue:
        """Find the socket by its inode."""
        return self._listener().queue

    def drops(self) -> Mapping[int, int]:
        """Find the socket by its inode."""
        drops = self._listener().drops
        return {} if drops is None else {0: drops}

    def _listener(self) -> sock_diag.InetListener:
        inode = os.fstat(self._sock.fileno()).st_ino
        port = self._sock.getsockname()[1]
        for listener in sock_diag.inet_listeners(self._sock.family, port):
            if listener.inode == inode:
                return listener
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


class UnixDiag:
    """A Unix socket by ``unix_diag``; its clients get EAGAIN, and nobody counts them."""

    name = "unix_diag"

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def queue(self) -> AcceptQueue:
        """Ask for the socket by its inode."""
        return sock_diag.unix_queue(os.fstat(self._sock.fileno()).st_ino)

    def drops(self) -> Mapping[int, int]:
        """Return nothing."""
        return {}


class SharedAddress:
    """An address at which each worker listens by itself (``reuse_port``), by ``inet_diag``."""

    name = "inet_diag"

    def __init__(self, host: str, port: int) -> None:
        self._port = port
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = _canonical(self._family, host)
        self._drops: dict[int, int] = {}

    def queue(self) -> AcceptQueue | None:
        """Sum up the queues; note the counters, before a worker is gone with its own."""
        found = sock_diag.inet_listeners(self._family, self._port)
        found = [listener for listener in found if self._host in (None, listener.host)]
        self._drops |= {it.inode: it.drops for it in found if it.drops is not None}
        if not found:
            return None
        lengths = [listener.queue.length for listener in found]
        limit = sum(listener.queue.limit for listener in found)
        return AcceptQueue(sum(lengths), limit, len(found), max(lengths))

    def drops(self) -> Mapping[int, int]:
        """Return the counters that ``queue`` noted since the last call."""
        noted, self._drops = self._drops, {}
        return noted


class NotLinux:
    """Any socket elsewhere: there the options' numbers mean something else."""

    name = sys.platform

    def __init__(self, _: Any) -> None:
        pass

    def queue(self) -> AcceptQueue:
        """Raise QueueError."""
        raise QueueError("this is not Linux")

    def drops(self) -> Mapping[int, int]:
        """Return nothing."""
        return {}


def ways(sock: Any) -> Sequence[Way]:
    """Return the ways to read this socket's queue, the cheapest first."""
    if sys.platform != "linux":
        return (NotLinux(sock),)
    if sock.family == socket.AF_UNIX:
        return (UnixDiag(sock),)
    return (TcpInfo(sock), InetDiag(sock))


def reason(error: OSError | QueueError) -> str:
    """Return why a way failed, with the errno's name."""
    if isinstance(error, OSError):
        return f"{errno.errorcode.get(error.errno or 0, 'OSError')} ({error.strerror})"
    return str(error)


def _canonical(family: int, host: str) -> str | None:
    """Return the address as the kernel's is printed; None for a name: it may mean several."""
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host))
    except OSError:
        return None
