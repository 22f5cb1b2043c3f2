"""The socket to the Agent: non-blocking, and without exceptions from a send."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple

from gunicorn_backlog._threads.unpatched import Socket, original
from gunicorn_backlog.config.agent_address import Address, is_localhost, number_family

# errno of a send while the Agent's receive queue is full
FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})

_LOOPBACK = ("127.0.0.1", "::1")
_KINDS = {
    "udp": (socket.SOCK_DGRAM,),
    "unix": (socket.SOCK_DGRAM, socket.SOCK_STREAM),
    "unixgram": (socket.SOCK_DGRAM,),
    "unixstream": (socket.SOCK_STREAM,),
}


class Target(NamedTuple):
    """Address family and socket address, as ``connect`` takes them."""

    family: int
    sockaddr: Any


class AgentSocket(Socket):
    """A connected, non-blocking socket to the Agent.

    ``error``: the latest error of a send, or None; ``deliver`` raises nothing.
    """

    error: OSError | None = None

    def deliver(self, payload: bytes) -> None:
        """Send one datagram, or one message of a stream after its length (32 bits, little-endian).

        Never waits, and stores an error in ``error``.
        """
        try:
            if self.type == socket.SOCK_STREAM:
                self._send_message(payload)
            else:
                self._send_datagram(payload)
        except OSError as error:
            self.error = error

    def _send_message(self, payload: bytes) -> None:
        if self.error is None:  # after a truncated message the Agent cannot parse another
            self.sendall(len(payload).to_bytes(4, "little") + payload)

    def _send_datagram(self, payload: bytes) -> None:
        try:
            self.send(payload)
        except ConnectionRefusedError as error:
            # The refusal of an earlier datagram: the kernel has not sent this one.
            self.error = error
            self.send(payload)

    def read_error(self) -> int:
        """Return the errno of a pending error, and store the error; 0: no error.

        A refusal on the same host is pending as soon as ``send`` returns.
        """
        code = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code and self.error is None:
            self.error = OSError(code, os.strerror(code))
        return code

    @property
    def broken(self) -> bool:
        """True if a new socket is needed: the peer is gone, or a message is incomplete."""
        if self.error is None or self.error.errno == errno.EMSGSIZE:
            return False
        if self.type == socket.SOCK_STREAM:
            return True
        if self.family != socket.AF_UNIX and isinstance(self.error, ConnectionRefusedError):
            return False  # this socket can send to a restarted Agent, and report its next refusal
        return self.error.errno not in FULL


def resolve(address: Address) -> Target:
    """Return the target of an address. IPv4 comes first, as in the ``datadog`` client.

    Waits for a name server if the host is a name other than localhost. Raises OSError.
    """
    if address.scheme != "udp":
        return Target(socket.AF_UNIX, address.path)
    if is_localhost(address.host):
        return _numeric_target(_LOOPBACK[0], address.port)
    if number_family(address.host) is not None:
        return _numeric_target(address.host, address.port)
    getaddrinfo = original("socket", "getaddrinfo")
    found = getaddrinfo(address.host, address.port, 0, socket.SOCK_DGRAM)
    family, _, _, _, sockaddr = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return Target(family, sockaddr)


def other_loopback(address: Address, target: Target) -> Target | None:
    """Return localhost's target of the other address family; None for other hosts."""
    if address.scheme != "udp" or not is_localhost(address.host):
        return None
    return _numeric_target(_LOOPBACK[target.family == socket.AF_INET], address.port)


def _numeric_target(host: str, port: int) -> Target:
    """Return the target of a numeric host. Raises OSError: its scope is no interface of this host.

    ``getaddrinfo`` is not used: the function reads the resolver's configuration even for a numeric
    host, and an app may have replaced it.
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
