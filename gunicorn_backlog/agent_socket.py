"""The socket to the Agent: it never waits, and a send that fails is kept as an error, not raised.

The ``datadog`` client logs each failed send, closes the socket and resolves the Agent's name again
while it holds a lock that ``fork`` waits for. It does none of that with a socket that never fails.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, NamedTuple

from gunicorn_backlog.address import Address, encoded_host
from gunicorn_backlog.unpatched import Socket, original

# EAGAIN and ENOBUFS: the Agent is there, but its queue is full.
FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})


_KINDS = {
    "udp": (socket.SOCK_DGRAM,),
    "unix": (socket.SOCK_DGRAM, socket.SOCK_STREAM),
    "unixgram": (socket.SOCK_DGRAM,),
    "unixstream": (socket.SOCK_STREAM,),
}


class Target(NamedTuple):
    """A socket address and its family, as ``connect`` takes them."""

    family: int
    where: Any


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

    def note_refusal(self) -> None:
        """Note what came back: from an Agent on this host it has, when ``send`` returns."""
        code = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code and self.error is None:
            self.error = OSError(code, os.strerror(code))

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

    May wait for the resolver. Raises OSError.
    """
    if address.scheme != "udp":
        return Target(socket.AF_UNIX, address.path)
    getaddrinfo = original("socket", "getaddrinfo")
    # An app's own function in its place expects text.
    is_original = getattr(getaddrinfo, "__globals__", None) is vars(socket)
    host = encoded_host(address.host) if is_original else address.host
    found = getaddrinfo(host, address.port, 0, socket.SOCK_DGRAM)
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return Target(family, where)


def connect(scheme: str, target: Target) -> AgentSocket:
    """Return a connected socket, without waiting. Raises OSError."""
    for kind in _KINDS[scheme]:
        sock = AgentSocket(target.family, kind)
        sock.setblocking(False)
        code = sock.connect_ex(target.where)
        if code == 0:
            return sock
        sock.close()
        if code != errno.EPROTOTYPE:
            break
    raise OSError(code, os.strerror(code))
