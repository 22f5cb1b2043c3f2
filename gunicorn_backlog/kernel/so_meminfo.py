"""The connections that a listening TCP socket dropped, from ``SO_MEMINFO``.

``getsockopt(SOL_SOCKET, SO_MEMINFO)`` fills an array of ``SK_MEMINFO_VARS`` u32 in the machine's
byte order (``include/uapi/linux/sock_diag.h``, since Linux 4.12). The ninth, ``SK_MEMINFO_DROPS``,
is ``sk_drops``. On a listening socket ``tcp_listendrop`` adds each refused connection request to
this counter, retransmitted ones included, since the socket was created. It wraps at 2**32.
"""

from __future__ import annotations

import socket
import struct

from gunicorn_backlog.kernel.accept_queue import ListeningSocket, QueueError

SO_MEMINFO = 55  # include/uapi/asm-generic/socket.h; Python has no constant for it

_MEMINFO = struct.Struct("=32xI")  # SK_MEMINFO_RMEM_ALLOC and seven more, SK_MEMINFO_DROPS


def decode(octets: bytes) -> int:
    """Return ``SK_MEMINFO_DROPS``: connections, modulo 2**32. Raises QueueError."""
    try:
        (drops,) = _MEMINFO.unpack_from(octets)
    except struct.error:
        needed = _MEMINFO.size
        raise QueueError(f"SO_MEMINFO is {len(octets)} bytes long, {needed} needed") from None
    return int(drops)


def read(sock: ListeningSocket) -> int:
    """Return the connections that a listening TCP socket dropped since it was created.

    The number is modulo 2**32. Raises OSError and QueueError.
    """
    return decode(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))
