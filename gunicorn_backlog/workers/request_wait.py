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

import errno
import fcntl
import socket
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.kernel.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.scoreboard.slot import BEGUN, Slot
from gunicorn_backlog.scoreboard.wait_histogram import EXACT_MS, NOT_KNOWN, bucket_of
from gunicorn_backlog.workers import request_start_header

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import WorkerSocket

T = TypeVar("T")

HEADERS = ("X-REQUEST-START", "X-QUEUE-START")  # gunicorn gives names in capitals

# Errors of a measurement whose arguments are not gunicorn's own.
NO_SOCKET = (AttributeError, IndexError, TypeError, tcp_info.UnpackError)
NO_REQUEST = (AttributeError, IndexError, TypeError, ValueError)
# Errors of getsockopt and ioctl: closed, not of TCP, or refused by a sandbox.
REFUSALS = frozenset(
    {
        errno.EACCES,
        errno.EBADF,
        errno.EINVAL,
        errno.ENOPROTOOPT,
        errno.ENOSYS,
        errno.ENOTCONN,
        errno.ENOTSOCK,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
    }
)


def tcp_measures_wait(sockets: Sequence[WorkerSocket]) -> bool:
    """Tell whether one of these listening sockets is of TCP, and this kernel fills TCP_INFO in."""
    for sock in sockets:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                filled_in = bool(tcp_info.read(sock).limit)
                return filled_in and tcp_info.last_data_recv_ms(sock) is not None
            except (OSError, QueueError):
                return False
    return False


def instrument_requests(
    handle_request: Callable[..., T],
    sockets: Sequence[WorkerSocket],
    slot: Slot,
    *,
    request_at: int,
    socket_at: int,
    in_connection: bool = False,
    handshake_waits: HandshakeWaits | None = None,
    counts: bool = True,
) -> Callable[..., T]:
    """Return ``handle_request``, whose calls count requests, and how long each of them waited.

    A subclass of a user's own may call it in a way that none of gunicorn's does: then the wait is
    not counted. Nothing is raised but what ``handle_request`` and the app's signal handlers raise.

    :param sockets: those that the worker listens at.
    :param request_at: which of the arguments of ``handle_request`` is the request.
    :param socket_at: which is the accepted socket; or, ``in_connection``, what has it as ``sock``.
    :param handshake_waits: of TLS, if there is any.
    :param counts: False: the requests are counted elsewhere, and this counts the waits only.
    """
    if tcp_measures_wait(sockets):
        handle_request = _by_tcp(
            handle_request, slot, socket_at, in_connection, handshake_waits, counts
        )
    elif counts:
        handle_request = _counted(handle_request, slot)
    if any(sock.family == socket.AF_UNIX for sock in sockets):
        handle_request = _by_header(handle_request, slot, request_at, socket_at, in_connection)
    return handle_request


def _counted(handle_request: Callable[..., T], slot: Slot) -> Callable[..., T]:
    begun = 0

    def handle_request_counted(*args: object, **named: object) -> T:
        nonlocal begun
        begun += 1
        slot.words[BEGUN] = begun
        return handle_request(*args, **named)

    def handle_request_of_threads(*args: object, **named: object) -> T:
        slot.add(BEGUN, 1)
        return handle_request(*args, **named)

    return handle_request_of_threads if slot.shared else handle_request_counted


def _by_tcp(
    handle_request: Callable[..., T],
    slot: Slot,
    socket_at: int,
    in_connection: bool,
    handshake_waits: HandshakeWaits | None,
    counts: bool,
) -> Callable[..., T]:
    """Hot path: runs on every request. Apart from the wrapped call it calls only the kernel."""
    size, unpack = tcp_info.LAST_DATA_RECV_SIZE, tcp_info.unpack_last_data_recv
    shared, count_request, counters = slot.shared, slot.count_request, slot.counters
    begun = 0

    def handle_request_recorded(*args: Any, **named: Any) -> T:
        nonlocal begun
        bucket = NOT_KNOWN
        try:
            sock = args[socket_at].sock if in_connection else args[socket_at]
            (waited_ms,) = unpack(sock.getsockopt(IPPROTO_TCP, TCP_INFO, size))
            if handshake_waits is not None:
                waited_ms += handshake_waits.pop(sock)
            # Waits this short are their own bucket: a call would take 32 ns of 38 more.
            bucket = waited_ms if waited_ms < EXACT_MS else bucket_of(waited_ms)
        except NO_SOCKET:
            pass
        except OSError as error:
            if not is_refusal(error):
                raise
        if shared:
            count_request(bucket)
        else:
            if counts:
                begun += 1
                slot.words[BEGUN] = begun
            counters[bucket] = waits = counters[bucket] + 1
            slot.waits[bucket] = waits
        return handle_request(*args, **named)

    return handle_request_recorded


def is_refusal(error: OSError) -> bool:
    """Tell whether a system call of the caller's failed; else an app's signal handler raised.

    A handler's error, a TimeoutError for one, comes from a frame of the handler. gevent's sockets
    have methods in Python, and so a frame, too: their errors are told by their number.
    """
    traceback = error.__traceback__
    return error.errno in REFUSALS or traceback is None or traceback.tb_next is None


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
        except NO_REQUEST:
            pass
        return handle_request(*args, **named)

    return handle_request_recorded


def _said_by_proxy(headers: Iterable[tuple[str, str]], now_s: float) -> float | None:
    for wanted in HEADERS:
        said = [value for name, value in headers if name == wanted]
        waited_s = request_start_header.waited_s(said[-1], now_s) if said else None
        if waited_s is not None:
            return waited_s
    return None


class HandshakeWaits:
    """How long clients' first bytes of TLS lay, by the descriptor of their socket.

    It stays the same when gunicorn makes a socket of TLS from the one that it accepted.
    """

    def __init__(self) -> None:
        self._waited_ms: dict[int, int] = {}

    def instrument(
        self, handle: Callable[..., T], socket_at: int, *, in_connection: bool = False
    ) -> Callable[..., T]:
        """Return ``handle``, whose calls look at connections that have not greeted yet."""

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
        """Return how long this connection's greeting lay, in ms; 0 the next time."""
        return self._waited_ms.pop(sock.fileno(), 0)


def _waited_ms(sock: Any) -> int:
    """Return how long the bytes lay that nobody has read yet; 0 if there are none."""
    fd = sock.fileno()
    if fd < 0:  # closed
        return 0
    try:
        unread = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
        if not any(unread):
            return 0
        octets = sock.getsockopt(IPPROTO_TCP, TCP_INFO, tcp_info.LAST_DATA_RECV_SIZE)
    except OSError as error:
        if not is_refusal(error):
            raise
        return 0
    (waited_ms,) = tcp_info.unpack_last_data_recv(octets)
    return int(waited_ms)


def _handshake_done(sock: Any) -> bool:
    version = getattr(sock, "version", None)
    return version is not None and version() is not None
