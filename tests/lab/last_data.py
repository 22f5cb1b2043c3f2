"""The time since the last bytes arrived at a connection, from the kernel's TCP_INFO."""

from __future__ import annotations

import socket

from gunicorn_backlog.kernel.tcp_info import (
    IPPROTO_TCP,
    LAST_DATA_SIZE,
    TCP_INFO,
    UnpackError,
    unpack_last_data,
)


def last_data_recv_ms(sock: socket.socket) -> int | None:
    """Return the time since the last bytes arrived at an accepted socket, in ms.

    None if the socket is closed, or is no TCP socket.
    """
    try:
        _, since_ms = unpack_last_data(sock.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_SIZE))
    except (OSError, UnpackError):
        return None
    return int(since_ms)
