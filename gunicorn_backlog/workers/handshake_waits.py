"""The waits of TLS handshakes: time until a worker reads a client's first message."""

from __future__ import annotations

import fcntl
import termios
from collections.abc import Callable
from typing import Any, TypeVar

from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.kernel.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.workers.tcp_wait import NO_SOCKET, is_refusal

T = TypeVar("T")


class HandshakeWaits:
    """Waits in ms of connections without a request yet, by the socket's descriptor.

    The descriptor stays the same when gunicorn wraps the accepted socket in a TLS socket.
    """

    def __init__(self) -> None:
        self._waited_ms: dict[int, int] = {}

    def instrument(
        self, handle: Callable[..., T], socket_at: int, *, in_connection: bool = False
    ) -> Callable[..., T]:
        """Return ``handle`` as a function that records each connection's wait before its handshake.

        :param socket_at: the position of the accepted socket among the arguments.
        :param in_connection: that argument has the accepted socket as ``sock``.
        """

        def handle_recorded(*args: Any, **named: Any) -> T:
            try:
                sock = args[socket_at].sock if in_connection else args[socket_at]
                if not _handshake_done(sock):
                    self._waited_ms[sock.fileno()] = _waited_ms(sock)
            except NO_SOCKET:
                pass
            return handle(*args, **named)

        return handle_recorded

    def pop(self, sock: Any) -> int:
        """Return the wait of a connection's handshake in ms; 0 from the second call on."""
        return self._waited_ms.pop(sock.fileno(), 0)


def _waited_ms(sock: Any) -> int:
    """Return the time since the last unread bytes arrived, in ms; 0 without unread bytes."""
    fd = sock.fileno()
    if fd < 0:  # closed
        return 0
    try:
        unread = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
        if not any(unread):
            return 0
        octets = sock.getsockopt(IPPROTO_TCP, TCP_INFO, tcp_info.LAST_DATA_SIZE)
    except OSError as error:
        if not is_refusal(error):
            raise
        return 0
    _, waited_ms = tcp_info.unpack_last_data(octets)
    return int(waited_ms)


def _handshake_done(sock: Any) -> bool:
    version = getattr(sock, "version", None)
    return version is not None and version() is not None
