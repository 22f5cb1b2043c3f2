"""How long a request waited, as the worker finds out that takes it.

On TCP the kernel knows: ``tcpi_last_data_recv`` of the accepted socket says how long ago its last
bytes arrived. Read when gunicorn has parsed the head of a request, it is how long the request has
lain, in the accept queue or in gthread's: in steps of the kernel's tick (4 ms at HZ=250). Whoever
sends a part only, or nothing, until the worker has taken the connection, has waited for nobody.

With TLS it is the client's greeting that lies first, and the request comes after the handshake: on
a new connection both count.

On Unix sockets there is no TCP_INFO. There the header in which a proxy says when it passed the
request on is believed: the last one, for a proxy that adds its own leaves a client's before it. On
TCP it never is, for there a client may need no proxy.
"""

from __future__ import annotations

import fcntl
import socket
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog import request_start, tcp_info
from gunicorn_backlog.accept_queue import QueueError
from gunicorn_backlog.slot import Slot
from gunicorn_backlog.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.waits import SHORT, bucket_of

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import WorkerSocket

T = TypeVar("T")

IS_SHORT = len(SHORT)  # ms
HEADERS = ("X-REQUEST-START", "X-QUEUE-START")  # gunicorn gives names in capitals


def tcp_tells(sockets: Sequence[WorkerSocket]) -> bool:
    """Tell whether one of these listening sockets is of TCP, and this kernel fills TCP_INFO in."""
    for sock in sockets:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                filled_in = bool(tcp_info.read(sock).limit)
                return filled_in and tcp_info.last_data_recv_ms(sock) is not None
            except (OSError, QueueError):
                return False
    return False


def watch_requests(
    handle_request: Callable[..., T],
    sockets: Sequence[WorkerSocket],
    slot: Slot,
    *,
    request_at: int,
    socket_at: int,
    in_connection: bool = False,
    greetings: Greetings | None = None,
) -> Callable[..., T]:
    """Return ``handle_request``, whose calls count how long each request waited.

    A subclass of a user's own may call it in a way that none of gunicorn's does: then nothing is
    counted, and nothing is raised but what ``handle_request`` raises.

    :param sockets: those that the worker listens at.
    :param request_at: which of the arguments of ``handle_request`` is the request.
    :param socket_at: which is the accepted socket; or, ``in_connection``, what has it as ``sock``.
    :param greetings: of TLS, if there is any.
    """
    if tcp_tells(sockets):
        handle_request = _by_tcp(handle_request, slot, socket_at, in_connection, greetings)
    if any(sock.family == socket.AF_UNIX for sock in sockets):
        handle_request = _by_header(handle_request, slot, request_at, socket_at, in_connection)
    return handle_request


def _by_tcp(
    handle_request: Callable[..., T],
    slot: Slot,
    socket_at: int,
    in_connection: bool,
    greetings: Greetings | None,
) -> Callable[..., T]:
    """It is on the way of every request, so it calls nothing but the kernel."""
    size, unpack = tcp_info.LAST_DATA_RECV_SIZE, tcp_info.unpack_last_data_recv
    shared, count_shared = slot.shared, slot.count_wait

    def handle_request_recorded(*args: Any, **named: Any) -> T:
        try:
            sock = args[socket_at].sock if in_connection else args[socket_at]
            (waited_ms,) = unpack(sock.getsockopt(IPPROTO_TCP, TCP_INFO, size))
            if greetings is not None:
                waited_ms += greetings.pop(sock)
            bucket = SHORT[waited_ms] if waited_ms < IS_SHORT else bucket_of(waited_ms)
            if shared:
                count_shared(bucket)
            else:
                slot.waits[bucket] += 1
        except Exception:  # no socket, not one of TCP, or closed
            pass
        return handle_request(*args, **named)

    return handle_request_recorded


def _by_header(
    handle_request: Callable[..., T],
    slot: Slot,
    request_at: int,
    socket_at: int,
    in_connection: bool,
    *,
    clock: Callable[[], float] = time.time,
) -> Callable[..., T]:
    def handle_request_recorded(*args: Any, **named: Any) -> T:
        try:
            sock = args[socket_at].sock if in_connection else args[socket_at]
            if sock.family == socket.AF_UNIX:
                waited_s = _said_by_proxy(args[request_at].headers, clock())
                if waited_s is not None:
                    slot.count_wait(bucket_of(round(1000 * waited_s)))
        except Exception:  # neither a socket nor a request
            pass
        return handle_request(*args, **named)

    return handle_request_recorded


def _said_by_proxy(headers: Iterable[tuple[str, str]], now_s: float) -> float | None:
    for wanted in HEADERS:
        said = [value for name, value in headers if name == wanted]
        waited_s = request_start.waited_s(said[-1], now_s) if said else None
        if waited_s is not None:
            return waited_s
    return None


class Greetings:
    """How long clients' first bytes of TLS lay, by the descriptor of their socket.

    It stays the same when gunicorn makes a socket of TLS from the one that it accepted.
    """

    def __init__(self) -> None:
        self._waited_ms: dict[int, int] = {}

    def watch(
        self, handle: Callable[..., T], socket_at: int, *, in_connection: bool = False
    ) -> Callable[..., T]:
        """Return ``handle``, whose calls look at connections that have not greeted yet."""

        def handle_recorded(*args: Any, **named: Any) -> T:
            try:
                sock = args[socket_at].sock if in_connection else args[socket_at]
                if not _has_greeted(sock):
                    self._waited_ms[sock.fileno()] = _waited_ms(sock)
            except Exception:  # no socket
                pass
            return handle(*args, **named)

        return handle_recorded

    def pop(self, sock: Any) -> int:
        """Return how long this connection's greeting lay, in ms; 0 the next time."""
        return self._waited_ms.pop(sock.fileno(), 0)


def _waited_ms(sock: Any) -> int:
    """Return how long the bytes lay that nobody has read yet; 0 if there are none."""
    try:
        unread = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    except OSError:
        return 0
    return tcp_info.last_data_recv_ms(sock) or 0 if any(unread) else 0


def _has_greeted(sock: Any) -> bool:
    version = getattr(sock, "version", None)
    return version is not None and version() is not None
