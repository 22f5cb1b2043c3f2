"""The network namespace in which a socket was created, from ``SO_NETNS_COOKIE``.

``getsockopt(SOL_SOCKET, SO_NETNS_COOKIE)`` returns a u64 in the machine's byte order
(``include/uapi/asm-generic/socket.h``, since Linux 5.14). The number identifies the network
namespace on this machine. The call needs no privilege; ``SIOCGSKNS`` needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import socket
import struct

from gunicorn_backlog._threads.unpatched import Socket
from gunicorn_backlog.kernel.accept_queue import ListeningSocket, QueueError

SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h; not in Python's ``socket``

_COOKIE = struct.Struct("=Q")


def decode(octets: bytes) -> int:
    """Return the cookie. Raises QueueError."""
    try:
        (cookie,) = _COOKIE.unpack(octets)
    except struct.error:
        raise QueueError(f"SO_NETNS_COOKIE is {len(octets)} bytes long, not 8") from None
    return int(cookie)


def read(sock: ListeningSocket) -> int:
    """Return the cookie of a socket's network namespace. Raises OSError and QueueError."""
    return decode(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, _COOKIE.size))


def is_elsewhere(sock: ListeningSocket) -> bool:
    """Return whether a socket belongs to another network namespace than this process.

    False if the kernel returns no cookie, or refuses the socket that is compared.
    """
    try:
        theirs = read(sock)
        with Socket(socket.AF_UNIX) as ours:
            return theirs != read(ours)
    except (OSError, QueueError):
        return False
