"""Fields of ``struct tcp_info``: a listener's accept queue, and an accepted socket's last bytes.

``getsockopt(IPPROTO_TCP, TCP_INFO)`` fills ``struct tcp_info`` of ``include/uapi/linux/tcp.h``, in
the machine's byte order. For a socket in ``TCP_LISTEN`` the kernel (``tcp_get_info`` in
``net/ipv4/tcp.c``) stores the accept queue in two of its fields:

======  ====  ===================  =======================================================
offset  size  field                meaning in TCP_LISTEN
======  ====  ===================  =======================================================
0       1     tcpi_state           TCP_LISTEN
1       23    tcpi_ca_state, ...   seven single bytes and four u32, not used here
24      4     tcpi_unacked         ``sk_ack_backlog``: length of the accept queue
28      4     tcpi_sacked          ``sk_max_ack_backlog``: the limit, clamped by somaxconn
======  ====  ===================  =======================================================

Two fields of an accepted socket are read:

======  ====  ===================  =======================================================
44      4     tcpi_last_data_sent  ms since bytes were sent, or since the handshake if none
                                   were; in steps of one jiffy
52      4     tcpi_last_data_recv  ms since the last bytes arrived, or since the handshake
                                   if none did; in steps of one jiffy
======  ====  ===================  =======================================================
"""

from __future__ import annotations

import socket
import struct

from gunicorn_backlog.kernel.accept_queue import AcceptQueue, ListeningSocket, QueueError

IPPROTO_TCP = int(socket.IPPROTO_TCP)
TCP_INFO = 11  # include/uapi/linux/tcp.h; Python has the constant on Linux only
TCP_LISTEN = 10  # include/net/tcp_states.h

UnpackError = struct.error  # raised for fewer bytes than a decoder needs

# bytes, more than any kernel fills (Linux 6.18: 280). gVisor refuses less than its whole struct.
_SIZE = 400
_LISTEN_INFO = struct.Struct("=B7x16xII")  # tcpi_state, tcpi_unacked, tcpi_sacked
_LAST_DATA = struct.Struct("=44xI4xI")  # tcpi_last_data_sent, tcpi_last_data_recv
# Public instead of a function around both: workers use them on the way of requests.
LAST_DATA_SIZE, unpack_last_data = _LAST_DATA.size, _LAST_DATA.unpack


def decode(octets: bytes) -> AcceptQueue:
    """Return the accept queue from the first 32 bytes or more of ``struct tcp_info``.

    Raises QueueError for fewer bytes, and for a socket that does not listen.
    """
    try:
        state, unacked, sacked = _LISTEN_INFO.unpack_from(octets)
    except struct.error:
        needed = _LISTEN_INFO.size
        raise QueueError(f"TCP_INFO is {len(octets)} bytes long, {needed} needed") from None
    if state != TCP_LISTEN:
        raise QueueError(f"TCP state is {state}, not {TCP_LISTEN} (TCP_LISTEN)")
    # AcceptQueue(unacked, sacked) without the constructor, which is Python code and takes 140 ns.
    # With the constructor a read takes 2.1 times the bare system call; the target in
    # tests/benchmarks/sample.py is 2.0.
    return tuple.__new__(AcceptQueue, (unacked, sacked, None, None))


def read(sock: ListeningSocket) -> AcceptQueue:
    """Return a listening TCP socket's accept queue. Raises OSError and QueueError."""
    return decode(sock.getsockopt(IPPROTO_TCP, TCP_INFO, _SIZE))
