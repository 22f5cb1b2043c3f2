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
from gunicorn_backlog.waits import EXACT_MS, bucket_of

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import WorkerSocket

T = TypeVar("T")
Record = Callable[[int], None]
Pick = Callable[[Any], Any]  # of the arguments of a method of gunicorn's

HEADERS = ("X-REQUEST-START", "X-QUEUE-START")  # gunicorn gives names in capitals


def recorder(slot: Slot) -> Record:
    """Return a function that counts a wait, in ms; several threads may call it."""

    def record(waited_ms: int) -> None:
        bucket = waited_ms if waited_ms < EXACT_MS else bucket_of(waited_ms)
        with slot.lock:
            slot.waits[bucket] += 1

    return record


def tcp_tells(sockets: Sequence[WorkerSocket]) -> bool:
    """Tell whether one of these listening sockets is of TCP, and this kernel fills TCP_INFO in."""
    for sock in sockets:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                filled_in = tcp_info.read(sock).limit > 0
                return filled_in and tcp_info.last_data_recv_ms(sock) >= 0
            except (OSError, QueueError):
                return False
    return False


def watch_requests(
    handle_request: Callable[..., T],
    sockets: Sequence[WorkerSocket],
    slot: Slot,
    *,
    request_of: Pick,
    socket_of: Pick,
    greetings: Greetings | None = None,
) -> Callable[..., T]:
    """Return ``handle_request``, whose calls count how long each request waited.

    :param sockets: those that the worker listens at.
    :param request_of: returns the request, of the arguments of ``handle_request``.
    :param socket_of: returns the accepted socket, of the same.
    :param greetings: of TLS, if there is any.
    """
    record = recorder(slot)
    if tcp_tells(sockets):
        handle_request = _by_tcp(handle_request, record, socket_of, greetings)
    if any(sock.family == socket.AF_UNIX for sock in sockets):
        handle_request = _by_header(handle_request, record, request_of, socket_of)
    return handle_request


def _by_tcp(
    handle_request: Callable[..., T],
    record: Record,
    socket_of: Pick,
    greetings: Greetings | None,
) -> Callable[..., T]:
    last_data_recv_ms = tcp_info.last_data_recv_ms

    def handle_request_recorded(*args: Any, **named: Any) -> T:
        if named:  # as a subclass of a user's own may call it
            return handle_request(*args, **named)
        sock = socket_of(args)
        waited_ms = last_data_recv_ms(sock)
        if waited_ms >= 0:
            record(waited_ms if greetings is None else waited_ms + greetings.pop(sock))
        return handle_request(*args)

    return handle_request_recorded


def _by_header(
    handle_request: Callable[..., T],
    record: Record,
    request_of: Pick,
    socket_of: Pick,
    *,
    clock: Callable[[], float] = time.time,
) -> Callable[..., T]:
    def handle_request_recorded(*args: Any, **named: Any) -> T:
        if not named and socket_of(args).family == socket.AF_UNIX:
            waited_s = _said_by_proxy(request_of(args).headers, clock())
            if waited_s is not None:
                record(round(1000 * waited_s))
        return handle_request(*args, **named)

    return handle_request_recorded


def _said_by_proxy(headers: Iterable[tuple[str, str]], now_s: float) -> float | None:
    for wanted in HEADERS:
        said = [value for name, value in headers if name == wanted]
        if said:
            return request_start.waited_s(said[-1], now_s)
    return None


class Greetings:
    """How long clients' first bytes of TLS lay, by the descriptor of their socket.

    It stays the same when gunicorn makes a socket of TLS from the one that it accepted.
    """

    def __init__(self) -> None:
        self._waited_ms: dict[int, int] = {}

    def watch(self, handle: Callable[..., T], socket_of: Pick) -> Callable[..., T]:
        """Return ``handle``, whose calls look at connections that have not greeted yet."""

        def handle_recorded(*args: Any, **named: Any) -> T:
            if not named:
                sock = socket_of(args)
                if not _has_greeted(sock):
                    self._waited_ms[sock.fileno()] = _waited_ms(sock)
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
    return max(0, tcp_info.last_data_recv_ms(sock)) if any(unread) else 0


def _has_greeted(sock: Any) -> bool:
    version = getattr(sock, "version", None)
    return version is not None and version() is not None
