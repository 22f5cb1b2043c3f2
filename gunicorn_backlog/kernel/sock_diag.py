"""Accept queues from ``NETLINK_SOCK_DIAG``: Unix sockets, and TCP sockets of any process.

Requests and answers are defined in ``include/uapi/linux/unix_diag.h`` and ``inet_diag.h``. These
requests need no privilege. The answers are in the machine's byte order, except for ports:

======  ====  ================  =================================================================
offset  size  unix_diag_msg     meaning
======  ====  ================  =================================================================
0       4     udiag_family,     and udiag_type, udiag_state, a padding byte
4       4     udiag_ino         the socket's inode
8       8     udiag_cookie
16      --    attributes        UNIX_DIAG_RQLEN: u32 udiag_rqueue, u32 udiag_wqueue: on a
                                listening socket the accept queue's length and limit
======  ====  ================  =================================================================

======  ====  ================  =================================================================
offset  size  inet_diag_msg     meaning
======  ====  ================  =================================================================
0       4     idiag_family,     and idiag_state, idiag_timer, idiag_retrans
4       48    id                inet_diag_sockid: port u16 big endian, ..., address at 4, ...
52      4     idiag_expires
56      4     idiag_rqueue      on a listening socket the accept queue's length
60      4     idiag_wqueue      on a listening socket its limit
64      4     idiag_uid
68      4     idiag_inode       the socket's inode
72      --    attributes        INET_DIAG_SKMEMINFO: as SO_MEMINFO
======  ====  ================  =================================================================
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import NamedTuple

from gunicorn_backlog.kernel import so_meminfo
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.kernel.netlink import NLM_F_DUMP, ask, attributes, open_socket

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
UDIAG_SHOW_RQLEN = 0x10
UNIX_DIAG_RQLEN = 4
INET_DIAG_SKMEMINFO = 7
TCP_LISTEN = 10
TCPF_LISTEN = 1 << TCP_LISTEN

_NO_COOKIE = 0xFFFFFFFF
# sdiag_family, sdiag_protocol, pad, udiag_states, udiag_ino, udiag_show, udiag_cookie[2]
_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UNIX_ANSWER = struct.Struct("=4xI8x")
_RQLEN = struct.Struct("=II")
# sdiag_family, sdiag_protocol, idiag_ext, pad, idiag_states
_INET_REQUEST = struct.Struct("=BBBBI")
# idiag_sport, idiag_dport, idiag_src, idiag_dst, idiag_if, idiag_cookie[2]
_SOCKID = struct.Struct("!HH16s16sIII")
_INET_ANSWER = struct.Struct("=BB2x48xIIIII")  # family, state, ..., expires to inode
_INET_SOCKID_AT = 4


class InetListener(NamedTuple):
    """One listening TCP socket of the network namespace.

    host, port: the address; ``host`` is numeric.
    drops: modulo 2**32; None: not reported.
    """

    host: str
    port: int
    inode: int
    queue: AcceptQueue
    drops: int | None


def decode_unix(payload: bytes) -> AcceptQueue:
    """Return the accept queue in ``struct unix_diag_msg``. Raises QueueError."""
    try:
        _UNIX_ANSWER.unpack_from(payload)
        by_type = dict(attributes(payload[_UNIX_ANSWER.size :]))
        length, limit = _RQLEN.unpack_from(by_type[UNIX_DIAG_RQLEN])
    except KeyError:
        raise QueueError("no UNIX_DIAG_RQLEN in the answer") from None
    except (struct.error, QueueError) as error:
        raise QueueError(f"no unix_diag_msg: {error}") from None
    return AcceptQueue(length, limit)


def decode_inet(payload: bytes) -> InetListener:
    """Return the listener in ``struct inet_diag_msg``. Raises QueueError."""
    try:
        family, state, _, length, limit, _, inode = _INET_ANSWER.unpack_from(payload)
        port, _, address, *_ = _SOCKID.unpack_from(payload, _INET_SOCKID_AT)
        meminfo = dict(attributes(payload[_INET_ANSWER.size :])).get(INET_DIAG_SKMEMINFO)
        drops = None if meminfo is None else so_meminfo.decode(meminfo)
    except (struct.error, QueueError) as error:
        raise QueueError(f"no inet_diag_msg: {error}") from None
    if state != TCP_LISTEN or family not in (socket.AF_INET, socket.AF_INET6):
        raise QueueError(f"a socket of family {family} in state {state}")
    octets = address[:4] if family == socket.AF_INET else address
    host = socket.inet_ntop(family, octets)
    return InetListener(host, port, inode, AcceptQueue(length, limit), drops)


def unix_request(inode: int) -> bytes:
    """Return ``struct unix_diag_req`` for the listening Unix socket with that inode."""
    cookie = (_NO_COOKIE, _NO_COOKIE)
    show = UDIAG_SHOW_RQLEN
    return _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, TCPF_LISTEN, inode, show, *cookie)


def inet_request(family: int, port: int) -> bytes:
    """Return ``struct inet_diag_req_v2`` for the listening TCP sockets at a port."""
    show = 1 << (INET_DIAG_SKMEMINFO - 1)
    head = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, show, 0, TCPF_LISTEN)
    return head + _SOCKID.pack(port, 0, b"", b"", 0, _NO_COOKIE, _NO_COOKIE)


def unix_queue(inode: int) -> AcceptQueue:
    """Return the accept queue of the Unix socket with that inode.

    Raises OSError (ENOENT: this network namespace has no listener with that inode, or the kernel
    has no unix_diag) and QueueError.
    """
    answers = _ask(0, unix_request(inode))
    if not answers:
        raise QueueError("an answer without a message")
    return decode_unix(answers[0])


def inet_listeners(family: int, port: int) -> list[InetListener]:
    """Return the listening TCP sockets of a family (AF_INET or AF_INET6) at a port.

    Raises OSError and QueueError.
    """
    listeners = map(decode_inet, _ask(NLM_F_DUMP, inet_request(family, port)))
    # A long dump may list a socket twice if others change.
    by_inode = {listener.inode: listener for listener in listeners if listener.port == port}
    return list(by_inode.values())


def inet_listener(family: int, port: int, inode: int) -> InetListener:
    """Return the listening TCP socket with that inode.

    Raises OSError (ENOENT: this network namespace has no listener with that inode) and QueueError.
    """
    for listener in inet_listeners(family, port):
        if listener.inode == inode:
            return listener
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _ask(flags: int, request: bytes) -> list[bytes]:
    with open_socket(NETLINK_SOCK_DIAG) as transport:
        return ask(transport, SOCK_DIAG_BY_FAMILY, flags, request)
