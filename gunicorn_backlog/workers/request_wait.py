"""The wait of each request: from the arrival of its last bytes until a worker has read its head.

TCP: the kernel's ``tcpi_last_data_recv`` of the accepted socket is the time since the last bytes
arrived. The worker reads this field when gunicorn has parsed a request's head. The value includes
the time in the accept queue and in gthread's queue. The resolution is the kernel's tick (4 ms at
HZ=250). Waiting starts with the last bytes: a client that connects early and sends late does not
wait.

TLS: a new connection waits with the first message of its handshake, and its first request waits
after the handshake. The recorded wait is the sum of both, see ``handshake_waits``.

Unix sockets have no TCP_INFO. Their waits come from a header in which a proxy writes the time of a
request, see ``request_start_header``. On TCP the header is ignored, since a client may connect
without the proxy.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.kernel.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.scoreboard.slot import BEGUN, SINCE_NS, Record, Slot
from gunicorn_backlog.scoreboard.wait_histogram import bucket_of
from gunicorn_backlog.workers import tcp_wait
from gunicorn_backlog.workers.exposed_requests import expose_environ, exposed_requests, wait_of
from gunicorn_backlog.workers.handshake_waits import HandshakeWaits
from gunicorn_backlog.workers.last_wait import LastWait
from gunicorn_backlog.workers.request_start_header import NO_REQUEST, header_wait_s

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import SyncWorker, ThreadWorker, WorkerSocket

T = TypeVar("T")
Measure = Callable[[tuple[Any, ...]], int]


def tcp_measures_wait(sockets: Sequence[WorkerSocket]) -> bool:
    """Return whether a listening socket is TCP, and the kernel fills in its TCP_INFO."""
    for sock in sockets:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                octets = sock.getsockopt(IPPROTO_TCP, TCP_INFO, tcp_info.LAST_DATA_SIZE)
                tcp_info.unpack_last_data(octets)
                return bool(tcp_info.read(sock).limit)
            except (OSError, QueueError, tcp_info.UnpackError):
                return False
    return False


def instrument_handlers(
    worker: SyncWorker | ThreadWorker,
    slot: Slot,
    *,
    in_connection: bool = False,
    busy: Mapping[int, Record] | None = None,
    exposes: bool,
) -> LastWait:
    """Wrap ``handle_request``, and with TLS ``handle``; return the worker's last wait.

    See ``last_wait`` for the workers that skip no measurement.

    :param in_connection, busy, exposes: of ``instrument_requests``.
    """
    is_ssl = worker.cfg.is_ssl
    handshake_waits = HandshakeWaits() if is_ssl else None
    last_wait = LastWait(skips=len(worker.sockets) == 1 and not is_ssl and not exposes)
    worker.handle_request = instrument_requests(
        worker.handle_request,
        worker.sockets,
        slot,
        in_connection=in_connection,
        handshake_waits=handshake_waits,
        last_wait=last_wait,
        busy=busy,
        exposes=exposes,
    )
    if exposes:
        expose_environ(worker)
    if handshake_waits is not None:
        socket_at = 0 if in_connection else 1
        worker.handle = handshake_waits.instrument(
            worker.handle, socket_at, in_connection=in_connection
        )
    return last_wait


def instrument_requests(
    handle_request: Callable[..., T],
    sockets: Sequence[WorkerSocket],
    slot: Slot,
    *,
    in_connection: bool = False,
    handshake_waits: HandshakeWaits | None = None,
    counts: bool = True,
    last_wait: LastWait | None = None,
    busy: Mapping[int, Record] | None = None,
    exposes: bool = False,
) -> Callable[..., T]:
    """Return ``handle_request`` as a function that counts each request and records its wait.

    If ``counts``, the function also stores the time of the parsed head. On TCP the slot
    records that waits are measured.

    If a user's subclass passes other arguments than gunicorn does, the wait is not recorded. Only
    errors of ``handle_request`` and of the app's signal handlers are raised.

    :param sockets: the worker's listening sockets.
    :param in_connection: the arguments are the request and a connection, whose ``sock`` is the
        accepted socket. False: the listener, the request and the accepted socket.
    :param handshake_waits: the waits of TLS handshakes; None without TLS.
    :param counts: False: record waits only; the caller counts the requests.
    :param last_wait: permits to skip a measurement; None: measure each wait.
    :param busy: the records of the worker's threads, by ident; None: the worker has one thread.
    :param exposes: the setting ``request_wait``.
    """
    busy = {} if busy is None else busy
    request_at, socket_at = (0, 1) if in_connection else (1, 2)
    by_tcp = tcp_measures_wait(sockets)
    if by_tcp:
        slot.measure_waits()
    if exposes:
        wait_ms = wait_of(request_at, socket_at, in_connection, handshake_waits, by_tcp)
        return exposed_requests(handle_request, slot, wait_ms, counts=counts, busy=busy)
    if by_tcp:
        if last_wait is None:
            last_wait = LastWait(skips=False)
        measure = tcp_wait.measurement(socket_at, in_connection, handshake_waits, last_wait)
        if slot.shared:
            handle_request = tcp_wait.recorded_in_threads(
                handle_request, slot, measure, last_wait, busy
            )
        else:
            handle_request = tcp_wait.recorded(handle_request, slot, measure, last_wait, counts)
    elif counts:
        handle_request = _counted(handle_request, slot, busy)
    if any(sock.family == socket.AF_UNIX for sock in sockets):
        handle_request = _by_header(handle_request, slot, request_at, socket_at, in_connection)
    return handle_request


def _counted(
    handle_request: Callable[..., T], slot: Slot, busy: Mapping[int, Record]
) -> Callable[..., T]:
    begun, clock_ns = slot.numbers[BEGUN], time.monotonic_ns

    def handle_request_counted(*args: object, **named: object) -> T:
        nonlocal begun
        parsed_ns = clock_ns()
        begun += 1
        words = slot.words
        words[BEGUN] = begun
        words[SINCE_NS] = parsed_ns
        return handle_request(*args, **named)

    def handle_request_of_threads(*args: object, **named: object) -> T:
        slot.add(BEGUN, 1)
        record = busy.get(get_ident())
        if record is not None:
            record.words[SINCE_NS] = clock_ns()
        return handle_request(*args, **named)

    return handle_request_of_threads if slot.shared else handle_request_counted


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
                waited_s = header_wait_s(args[request_at].headers, clock())
                if waited_s is not None:
                    slot.count_wait(bucket_of(round(1000 * waited_s)))
        except NO_REQUEST:
            pass
        return handle_request(*args, **named)

    return handle_request_recorded
