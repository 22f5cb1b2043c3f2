"""The network namespace in which a socket was created, from ``SO_NETNS_COOKIE``.

``getsockopt(SOL_SOCKET, SO_NETNS_COOKIE)`` returns a u64 in the machine's byte order
(``include/uapi/asm-generic/socket.h``, since Linux 5.14). The number identifies the network
namespace on this machine. The call needs no privilege; ``SIOCGSKNS`` needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import socket

from gunicorn_backlog._threads.unpatched import Socket
from gunicorn_backlog.kernel.accept_queue import ListeningSocket

SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h; not in Python's ``socket``

_SIZE = 8  # bytes of the cookie; cookies are only compared


def read(sock: ListeningSocket) -> bytes:
    """Return the cookie of a socket's network namespace. Raises OSError."""
    return sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, _SIZE)


def is_elsewhere(sock: ListeningSocket) -> bool:
    """Return whether a socket belongs to another network namespace than this process.

    False if the kernel returns no cookie, or refuses the socket that is compared.
    """
    try:
        theirs = read(sock)
        with Socket(socket.AF_UNIX) as ours:
            return theirs != read(ours)
    except OSError:
        return False
