"""What ``struct tcp_info`` tells: a listening socket's accept queue, an accepted one's last bytes.

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
Of an accepted socket:

======  ====  ===================  =======================================================
52      4     tcpi_last_data_recv  ms since the last bytes came; since the handshake, if none
                                   did; in steps of one jiffy
======  ====  ===================  =======================================================
"""

from __future__ import annotations

import errno
import socket
import struct

from gunicorn_backlog.kernel.accept_queue import AcceptQueue, ListeningSocket, QueueError

IPPROTO_TCP = int(socket.IPPROTO_TCP)
TCP_INFO = 11  # include/uapi/linux/tcp.h; Python has it on Linux only
TCP_LISTEN = 10  # include/net/tcp_states.h

UnpackError = struct.error  # of fewer bytes than a decoder needs

_LISTEN_INFO = struct.Struct("=B7x16xII")  # tcpi_state, tcpi_unacked, tcpi_sacked
# All of it is looked up for each sample: as plain names that takes a tenth less.
_unpack, _SIZE = _LISTEN_INFO.unpack_from, _LISTEN_INFO.size
_new_tuple = tuple.__new__
_LAST_DATA_RECV = struct.Struct("=52xI")  # tcpi_last_data_recv
# For each request, so without a function around them: how many bytes to ask for, and their decoder.
LAST_DATA_RECV_SIZE, unpack_last_data_recv = _LAST_DATA_RECV.size, _LAST_DATA_RECV.unpack
_WHOLE = 1024  # bytes: the struct, 280 of them in Linux 6.18, and what may still be added


def decode(octets: bytes) -> AcceptQueue:
    """Decode the first 32 bytes or more of ``struct tcp_info``.

    Raises QueueError if there are fewer, or if the socket was not listening.
    """
    try:
        state, unacked, sacked = _unpack(octets)
    except struct.error:
        needed = _SIZE
        raise QueueError(f"TCP_INFO is {len(octets)} bytes long, {needed} needed") from None
    if state != TCP_LISTEN:
        raise QueueError(f"TCP state is {state}, not {TCP_LISTEN} (TCP_LISTEN)")
    # As AcceptQueue(unacked, sacked), in half the time: this is done for each sample.
    return _new_tuple(AcceptQueue, (unacked, sacked, None, None))


def read(sock: ListeningSocket) -> AcceptQueue:
    """Ask the kernel for a listening TCP socket's accept queue.

    Raises OSError as ``getsockopt`` does, and QueueError if the answer makes no sense.
    """
    try:
        return decode(sock.getsockopt(IPPROTO_TCP, TCP_INFO, _SIZE))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Some that are not Linux, but act like it, give the whole struct or nothing.
    return decode(sock.getsockopt(IPPROTO_TCP, TCP_INFO, _WHOLE))


def last_data_recv_ms(sock: ListeningSocket) -> int | None:
    """Ask how long ago the last bytes came to an accepted socket.

    None if the kernel does not tell: the socket is not one of TCP, or is closed.
    """
    try:
        octets = sock.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_RECV_SIZE)
        (since_ms,) = unpack_last_data_recv(octets)
    except (OSError, struct.error):
        return None
    return int(since_ms)
