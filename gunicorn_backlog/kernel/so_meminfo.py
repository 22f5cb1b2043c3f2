"""The drops of a listening TCP socket, from ``SO_MEMINFO``.

``getsockopt(SOL_SOCKET, SO_MEMINFO)`` fills an array of ``SK_MEMINFO_VARS`` u32 in the machine's
byte order (``include/uapi/linux/sock_diag.h``, since Linux 4.12). The ninth, ``SK_MEMINFO_DROPS``,
is ``sk_drops``. On a listening socket ``tcp_listendrop`` adds each refused connection request to
this counter, retransmissions included. The counter starts at 0 with the socket, and wraps at 2**32.
"""

from __future__ import annotations

import socket
import struct

from gunicorn_backlog.kernel.accept_queue import ListeningSocket, QueueError

SO_MEMINFO = 55  # include/uapi/asm-generic/socket.h; not in Python's ``socket``

_MEMINFO = struct.Struct("=32xI")  # SK_MEMINFO_RMEM_ALLOC and seven more, SK_MEMINFO_DROPS


def decode(octets: bytes) -> int:
    """Return ``SK_MEMINFO_DROPS``, modulo 2**32. Raises QueueError."""
    try:
        (drops,) = _MEMINFO.unpack_from(octets)
    except struct.error:
        needed = _MEMINFO.size
        raise QueueError(f"SO_MEMINFO is {len(octets)} bytes long, {needed} needed") from None
    return int(drops)


def read(sock: ListeningSocket) -> int:
    """Return the drops of a listening TCP socket, modulo 2**32. Raises OSError and QueueError."""
    return decode(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))
