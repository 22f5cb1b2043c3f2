"""The accept queue of a listening TCP socket, from ``struct tcp_info``.

``getsockopt(IPPROTO_TCP, TCP_INFO)`` fills ``struct tcp_info`` of ``include/uapi/linux/tcp.h``.
For a socket in ``TCP_LISTEN`` the kernel (``tcp_get_info`` in ``net/ipv4/tcp.c``) puts the accept
queue into two of its fields:

======  ====  ================  ==========================================================
offset  size  field             meaning in TCP_LISTEN
======  ====  ================  ==========================================================
0       8     tcpi_state, ...   eight single bytes; the first is the state
8       16    tcpi_rto, ...     four u32, of no meaning here
24      4     tcpi_unacked      ``sk_ack_backlog``: connections waiting to be accepted
28      4     tcpi_sacked       ``sk_max_ack_backlog``: the limit, clamped by somaxconn
======  ====  ================  ==========================================================

All are in the machine's byte order. Later fields are not asked for: 32 bytes cost less to copy.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple, Protocol

TCP_INFO = 11  # include/uapi/linux/tcp.h; Python has it on Linux only
TCP_LISTEN = 10  # include/net/tcp_states.h

_LISTEN_INFO = struct.Struct("=B7x16xII")  # tcpi_state, tcpi_unacked, tcpi_sacked


class TcpInfoError(Exception):
    """The bytes are no ``struct tcp_info`` of a listening socket."""


class AcceptQueue(NamedTuple):
    """A listener's accept queue: ``length`` and ``limit``, both in connections.

    The queue holds ``limit + 1`` connections before the kernel drops one, so ``length`` can be
    greater than ``limit``.
    """

    length: int
    limit: int


class Socket(Protocol):
    """Any socket that can be asked: Python's, gevent's, or gunicorn's wrapper."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes: ...


def decode(octets: bytes) -> AcceptQueue:
    """Decode the first 32 bytes or more of ``struct tcp_info``.

    Raises TcpInfoError if there are fewer, or if the socket was not listening.
    """
    try:
        state, unacked, sacked = _LISTEN_INFO.unpack_from(octets)
    except struct.error:
        needed = _LISTEN_INFO.size
        raise TcpInfoError(f"TCP_INFO is {len(octets)} bytes long, {needed} needed") from None
    if state != TCP_LISTEN:
        raise TcpInfoError(f"TCP state is {state}, not {TCP_LISTEN} (TCP_LISTEN)")
    return AcceptQueue(unacked, sacked)


def read(sock: Socket) -> AcceptQueue:
    """Ask the kernel for a listening TCP socket's accept queue.

    Raises OSError as ``getsockopt`` does, and TcpInfoError if the answer makes no sense.
    """
    return decode(sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, _LISTEN_INFO.size))
