"""The ways to read a listener's accept queue."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from gunicorn_backlog.kernel import netns_cookie, so_meminfo, sock_diag, tcp_info
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, ElsewhereError, QueueError, merge
from gunicorn_backlog.sampling.drops import Drops
from gunicorn_backlog.sampling.unix_list import UnixList

ALLOW = "allow {} in the seccomp profile or sandbox that {} runs in"
NETLINK = "socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)"
_BY_NETLINK = frozenset({"inet_diag", "unix_diag"})


class QueueReader(Protocol):
    """One way to read a listener. What it offers raises OSError and QueueError, and never waits.

    All ways of one listener share ``drops``: its socket has one counter, by whatever way it is
    read, and so one base line.
    """

    name: str
    drops: Drops

    @property
    def queue(self) -> Callable[[], AcceptQueue | None]:
        """Return, when called, the queue as it is now; None: there is none, or not this time."""

    def note_drops(self) -> None:
        """Take the kernel's counter into ``drops``, if there is one for this kind of socket."""

    def begin_interval(self) -> None:
        """Let ``queue`` be read again, if that is done once per interval."""


class _Plain:
    """A way that reads no counter of drops in ``note_drops``, and whose ``queue`` costs little."""

    def __init__(self, drops: Drops | None = None) -> None:
        self.drops = drops or Drops()

    def note_drops(self) -> None:
        """Do nothing."""

    def begin_interval(self) -> None:
        """Do nothing."""


class TcpInfo(_Plain):
    """A TCP socket that this process holds, by ``getsockopt``."""

    name = "TCP_INFO"

    def __init__(self, sock: Any, drops: Drops | None = None) -> None:
        super().__init__(drops)
        self._sock = sock
        self.queue = partial(tcp_info.read, sock)  # called for each sample: no method around it

    def note_drops(self) -> None:
        """Read ``SO_MEMINFO``."""
        self.drops.add({0: so_meminfo.read(self._sock)})


class InetDiag(_Plain):
    """A TCP socket that this process holds, by ``inet_diag``: where ``getsockopt`` is refused."""

    name = "inet_diag"

    def __init__(self, sock: Any, drops: Drops | None = None) -> None:
        super().__init__(drops)
        self._sock = sock

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


class UnixDiag(_Plain):
    """A Unix socket by ``unix_diag``; its clients get EAGAIN, and nobody counts them."""

    name = "unix_diag"

    def __init__(self, sock: Any) -> None:
        super().__init__()
        self._sock = sock

    def queue(self) -> AcceptQueue:
        """Ask for the socket by its inode."""
        return sock_diag.unix_queue(os.fstat(self._sock.fileno()).st_ino)


class ReusePortReader(_Plain):
    """An address at which each worker listens by itself (``reuse_port``), by ``inet_diag``."""

    name = "inet_diag"

    def __init__(self, host: str, port: int) -> None:
        """Take a numeric host, as the kernel prints it."""
        super().__init__()
        self._host, self._port = host, port
        self._family = family_of(host)

    def queue(self) -> AcceptQueue | None:
        """Sum up the queues; note the counters, before a worker is gone with its own."""
        found = sock_diag.inet_listeners(self._family, self._port)
        found = [listener for listener in found if listener.host == self._host]
        self.drops.add({it.inode: it.drops for it in found if it.drops is not None})
        return merge([listener.queue for listener in found]) if found else None


class UnreadableListener(_Plain):
    """A listener that can't be read, for a reason that is known."""

    name = "unreadable"

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why

    def queue(self) -> AcceptQueue:
        """Raise QueueError."""
        raise QueueError(self._why)


def readers_for(sock: Any) -> Sequence[QueueReader]:
    """Return the ways to read this socket's queue, the cheapest first."""
    if sys.platform != "linux":
        # There the options' numbers mean something else.
        return (UnreadableListener("this is not Linux"),)
    # Netlink and /proc/net show the sockets of this process's network namespace only.
    elsewhere = (
        (UnreadableListener(str(ElsewhereError())),) if netns_cookie.is_elsewhere(sock) else ()
    )
    if sock.family == socket.AF_UNIX:
        return elsewhere or (UnixDiag(sock), UnixList(sock))
    drops = Drops()
    return (TcpInfo(sock, drops), *(elsewhere or (InetDiag(sock, drops),)))


def remedy(way: str, error: OSError | QueueError) -> str:
    """Return what lets a way work that failed; empty if that is not known."""
    if way in _BY_NETLINK and isinstance(error, OSError):
        return remedy_of_netlink(error, "the server")
    return ""


def remedy_of_netlink(error: OSError, whose: str) -> str:
    """Return what lets netlink work where it was refused; empty if that is not known.

    systemd makes ``socket()`` fail with EAFNOSUPPORT (systemd.exec(5)).

    :param whose: what runs in the unit or sandbox.
    """
    if error.errno == errno.EAFNOSUPPORT:
        return (
            f"add AF_NETLINK to RestrictAddressFamilies= of the systemd unit that {whose} runs in"
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return ALLOW.format(NETLINK, whose)
    return ""


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def numeric(host: str) -> str | None:
    """Return the address that gunicorn binds to, as the kernel's is printed.

    None for a name, other than this host's own: looking it up might take long.
    """
    family = family_of(host)
    own = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, own))
    except OSError:
        return None
