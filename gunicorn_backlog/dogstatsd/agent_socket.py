"""The socket to the Agent: it never waits, and keeps the error of a send, instead of raising it."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple

from gunicorn_backlog._threads.unpatched import Socket, original
from gunicorn_backlog.config.agent_address import Address, is_localhost, number_family

# EAGAIN and ENOBUFS: the Agent is there, but its queue is full.
FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})

_LOOPBACK = ("127.0.0.1", "::1")
_KINDS = {
    "udp": (socket.SOCK_DGRAM,),
    "unix": (socket.SOCK_DGRAM, socket.SOCK_STREAM),
    "unixgram": (socket.SOCK_DGRAM,),
    "unixstream": (socket.SOCK_STREAM,),
}


class Target(NamedTuple):
    """A socket address and its family, as ``connect`` takes them."""

    family: int
    sockaddr: Any


class AgentSocket(Socket):
    """A connected, non-blocking socket, of which ``send`` and ``sendall`` don't raise."""

    error: OSError | None = None

    def send(self, octets: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # bytes do
        """Send one datagram; a refusal is an earlier one's: note it, and send all the same."""
        try:
            return super().send(octets, flags)
        except ConnectionRefusedError as error:
            self.error = error
        except OSError as error:
            self.error = error
            return 0
        return self._send_again(octets, flags)

    def _send_again(self, octets: bytes, flags: int) -> int:
        try:
            return super().send(octets, flags)
        except OSError as error:
            self.error = error
            return 0

    def sendall(self, octets: bytes, flags: int = 0, /) -> None:  # type: ignore[override]  # same
        """Send a part of a stream, unless an earlier part failed: the Agent could not parse it."""
        if self.error is not None:
            return
        try:
            super().sendall(octets, flags)
        except OSError as error:
            self.error = error

    def deliver(self, payload: bytes) -> None:
        """Send one datagram; in a stream its length, four bytes in little endian, goes first."""
        if self.type == socket.SOCK_STREAM:
            self.sendall(len(payload).to_bytes(4, "little") + payload)
        else:
            self.send(payload)

    def is_refused(self) -> bool:
        """Note what came back of a first datagram; tell whether nobody took it."""
        return self.note_refusal() == errno.ECONNREFUSED

    def note_refusal(self) -> int:
        """Note what came back, and return its errno.

        From an Agent on this host it has come when ``send`` returns.
        """
        code = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code and self.error is None:
            self.error = OSError(code, os.strerror(code))
        return code

    @property
    def broken(self) -> bool:
        """Whether it must be replaced: the peer is gone, or a part of a message is missing."""
        if self.error is None or self.error.errno == errno.EMSGSIZE:
            return False
        if self.type == socket.SOCK_STREAM:
            return True
        if self.family != socket.AF_UNIX and isinstance(self.error, ConnectionRefusedError):
            return False  # it is good for the next datagram, and for hearing of the next refusal
        return self.error.errno not in FULL


def resolve(address: Address) -> Target:
    """Return where to connect to; IPv4 comes first, as the ``datadog`` client does it.

    May wait for the resolver, if the host is a name other than localhost. Raises OSError.
    """
    if address.scheme != "udp":
        return Target(socket.AF_UNIX, address.path)
    if is_localhost(address.host):
        return _of_number(_LOOPBACK[0], address.port)
    if number_family(address.host) is not None:
        return _of_number(address.host, address.port)
    getaddrinfo = original("socket", "getaddrinfo")
    found = getaddrinfo(address.host, address.port, 0, socket.SOCK_DGRAM)
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return Target(family, where)


def other_loopback(address: Address, target: Target) -> Target | None:
    """Return localhost's address of the other family than the target's; None for other hosts."""
    if address.scheme != "udp" or not is_localhost(address.host):
        return None
    return _of_number(_LOOPBACK[target.family == socket.AF_INET], address.port)


def _of_number(host: str, port: int) -> Target:
    """Return where a number leads to. Raises OSError: it names no interface of this host.

    ``getaddrinfo`` reads the resolver's configuration for a number, too, and an app may have put
    its own function in that place.
    """
    if number_family(host) == socket.AF_INET:
        return Target(socket.AF_INET, (host, port))
    number, percent, scope = host.partition("%")
    return Target(socket.AF_INET6, (number, port, 0, _scope_id(scope) if percent else 0))


def _scope_id(scope: str) -> int:
    with suppress(OSError):
        return socket.if_nametoindex(scope)
    if scope.isascii() and scope.isdigit() and int(scope) < 2**32:
        return int(scope)
    raise OSError(errno.ENODEV, f"no interface {scope!r}")


def connect(scheme: str, target: Target) -> AgentSocket:
    """Return a connected socket, without waiting. Raises OSError."""
    for kind in _KINDS[scheme]:
        sock = AgentSocket(target.family, kind)
        sock.setblocking(False)
        code = sock.connect_ex(target.sockaddr)
        if code == 0:
            return sock
        sock.close()
        if code != errno.EPROTOTYPE:
            break
    raise OSError(code, os.strerror(code))
