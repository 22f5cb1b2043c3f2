"""The requests of sync, gthread, gevent and eventlet with the setting ``request_wait``.

Each wait is measured, in place of the wrappers that ``request_wait`` returns without the setting.
These have no branch for the setting: a request without the setting executes no more instructions.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.kernel.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.scoreboard.slot import Record, Slot
from gunicorn_backlog.scoreboard.wait_histogram import NOT_KNOWN, bucket_of
from gunicorn_backlog.workers import tcp_wait
from gunicorn_backlog.workers.app_proxy import AppProxy, before_run
from gunicorn_backlog.workers.exposed_wait import exposed_wsgi, scoped, set_waited_ms
from gunicorn_backlog.workers.last_wait import LastWait
from gunicorn_backlog.workers.request_start_header import NO_REQUEST, header_wait_s
from gunicorn_backlog.workers.tcp_wait import NO_SOCKET, is_refusal

if TYPE_CHECKING:
    from gunicorn_backlog.workers.handshake_waits import HandshakeWaits

T = TypeVar("T")
Arguments = tuple[Any, ...]  # of handle_request
Wait = Callable[[Arguments], int | None]


def exposed_requests(
    handle_request: Callable[..., T],
    slot: Slot,
    wait_ms: Wait,
    *,
    counts: bool,
    busy: Mapping[int, Record],
) -> Callable[..., T]:
    """Return ``handle_request`` as a function that records and exposes the wait of each request.

    The parameters are those of ``request_wait.instrument_requests``.

    :param wait_ms: returns the wait from the arguments of a request.
    """

    def measure(args: Arguments) -> int:
        waited_ms = wait_ms(args)
        set_waited_ms(waited_ms)
        return NOT_KNOWN if waited_ms is None else bucket_of(waited_ms)

    each = LastWait(skips=False)
    if slot.shared:
        return scoped(tcp_wait.recorded_in_threads(handle_request, slot, measure, each, busy))
    return scoped(tcp_wait.recorded(handle_request, slot, measure, each, counts))


def wait_of(
    request_at: int,
    socket_at: int,
    in_connection: bool,
    handshake_waits: HandshakeWaits | None,
    by_tcp: bool,
    *,
    clock: Callable[[], float] = time.time,
) -> Wait:
    """Return a function that returns a wait in ms from the arguments of ``handle_request``.

    On a Unix socket the wait comes from a proxy's header. None: the wait is unknown.

    :param by_tcp: the kernel fills in the TCP_INFO of the worker's sockets.
    """
    size, unpack = tcp_info.LAST_DATA_SIZE, tcp_info.unpack_last_data

    def wait_ms(args: Arguments) -> int | None:
        try:
            sock = args[socket_at].sock if in_connection else args[socket_at]
            if sock.family == socket.AF_UNIX:
                waited_s = header_wait_s(args[request_at].headers, clock())
                return None if waited_s is None else round(1000 * waited_s)
            if not by_tcp:
                return None
            _, waited_ms = unpack(sock.getsockopt(IPPROTO_TCP, TCP_INFO, size))
            if handshake_waits is not None:
                waited_ms += handshake_waits.pop(sock)
            return int(waited_ms)
        except (*NO_SOCKET, *NO_REQUEST):
            return None
        except OSError as error:
            if not is_refusal(error):
                raise
            return None

    return wait_ms


def expose_environ(worker: Any) -> None:
    """Wrap the worker's WSGI app, which then finds the wait in its environ."""

    def wrap() -> None:
        worker.wsgi = AppProxy(worker.wsgi, exposed_wsgi(worker.wsgi))

    before_run(worker, wrap)
