"""The wait of each request in an event loop: from the arrival of its head until the app starts.

TCP: the kernel's ``tcpi_last_data_recv`` gives the time at which the last bytes arrived. The worker
reads this field when the head of a request has been parsed, and adds the time until the app's
callable starts. The first part covers the accept queue and a blocked loop; the second part covers
callbacks and tasks that are ready before the app.

- A client that connects early and sends late does not wait. A head in two packets waits from the
  second packet on. Parts of the body that are still in the kernel then count as part of the head.
- An upload: asgi, uvicorn, aiohttp and gevent's pywsgi start the app with the head. tornado starts
  the app with the complete body, and the wait starts with the last bytes of the body.
- Kept-alive connections: each request has a wait of its own.
- Pipelined requests: a request waits for the one before, from the arrival of the last bytes that
  the server has read, or that are still in the kernel.
- TLS: the request is measured, from the arrival of its last encrypted bytes. The handshake is not
  measured.
- A websocket's opening request is measured; its messages are not. HTTP/2 streams are not measured.

Unix sockets have no TCP_INFO: the wait is the time since a proxy's header, see
``request_start_header``.

The system call is skipped, and the previous value is used again, if three conditions hold: the
latest measurement is younger than FRESH_NS, it was at most one tick, and a poll has slept since.
The poll began after the measurement, and watched all listeners and connections: nothing was there
when it began. Therefore a skipped request has waited less than FRESH_NS when it is read. Exception:
a pipelined request is read from a buffer. If it is skipped, it may have waited longer, behind the
request before.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.kernel.tcp_info import (
    IPPROTO_TCP,
    LAST_DATA_SIZE,
    TCP_INFO,
    unpack_last_data,
)
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.scoreboard.wait_histogram import EXACT_MS, bucket_of
from gunicorn_backlog.workers.last_wait import FRESH_NS, TICK_MS
from gunicorn_backlog.workers.loops.beat import Beat, LoopMeter
from gunicorn_backlog.workers.request_start_header import NO_REQUEST, header_wait_s
from gunicorn_backlog.workers.request_wait import tcp_measures_wait
from gunicorn_backlog.workers.tcp_wait import NO_SOCKET, is_refusal

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import WorkerSocket

NOT_KNOWN_NS = 0
MS_NS = 1_000_000

T = TypeVar("T")
Headers = Iterable[tuple[str, str]]


class ReceivedWaits:
    """Measures the waits of one worker's requests; all methods run in the loop's thread."""

    __slots__ = (
        "_by_tcp",
        "_clock_ns",
        "_fresh_until_ns",
        "_has_unix",
        "_listening",
        "_mark",
        "_skips",
        "_slept",
        "_slot",
        "_waited_ns",
    )

    def __init__(
        self,
        slot: Slot,
        sockets: Sequence[WorkerSocket],
        *,
        skips: bool = True,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Look at the worker's listening sockets; ``skips=False``: measure each wait."""
        self._watch(LoopMeter())
        self._slot = slot
        self._by_tcp = tcp_measures_wait(sockets)
        self._has_unix = any(sock.family == socket.AF_UNIX for sock in sockets)
        # In a worker with Unix sockets, too, each connection has to be looked at.
        self._listening = tuple([sock.fileno() for sock in sockets])
        self._skips = skips and not self._has_unix and min(self._listening, default=-1) >= 0
        self._clock_ns = clock_ns
        self._fresh_until_ns = self._waited_ns = 0

    def begin(self) -> None:
        """Record that each request is measured from now on, if the kernel fills in TCP_INFO."""
        if self._by_tcp:
            self._slot.measure_waits()

    def follow(self, beat: Beat | None) -> None:
        """Skip measurements by the polls of a loop; None: skip none."""
        if beat is not None:
            self._watch(beat.meter)

    def _watch(self, meter: LoopMeter) -> None:
        self._mark, self._slept = meter.mark, meter.slept

    def read_ns(self, transport: Any) -> int | None:
        """Return the time at which the last bytes arrived that a transport has just read.

        NOT_KNOWN_NS after an error. None for a Unix socket, which has no such time.

        Hot path: runs on every request.
        """
        now_ns = self._clock_ns()
        if now_ns < self._fresh_until_ns and self._slept():
            return now_ns - self._waited_ns
        try:
            sock = transport.get_extra_info("socket")
        except AttributeError:  # the connection was closed
            return NOT_KNOWN_NS
        return self._measured_ns(sock, now_ns)

    def arrived_ns(self, sock: Any) -> int | None:
        """Return the time at which the last bytes arrived at an accepted socket, as ``read_ns``."""
        now_ns = self._clock_ns()
        if now_ns < self._fresh_until_ns and self._slept():
            return now_ns - self._waited_ns
        return self._measured_ns(sock, now_ns)

    def _measured_ns(self, sock: Any, now_ns: int) -> int | None:
        try:
            if self._has_unix and sock.family == socket.AF_UNIX:
                return None
            if not self._by_tcp:
                return NOT_KNOWN_NS
            _, waited_ms = unpack_last_data(sock.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_SIZE))
        except NO_SOCKET:
            return NOT_KNOWN_NS
        except OSError as error:
            if not is_refusal(error):
                raise
            return NOT_KNOWN_NS
        self._waited_ns = waited_ns = waited_ms * MS_NS
        # The mark first: a signal handler may raise after it.
        skips = waited_ms <= TICK_MS and self._skips and self._mark(self._listening)
        self._fresh_until_ns = now_ns + FRESH_NS if skips else 0
        return int(now_ns - waited_ns)

    def start(
        self,
        app: Callable[..., T],
        arrived_ns: int | None,
        headers: Callable[[Any], Headers],
        request: Any,
        *args: Any,
    ) -> T:
        """Count the wait of a request, and call its app.

        Hot path: runs on every request. No lock: all requests of a loop start in its thread.

        :param arrived_ns: of ``read_ns``, called when the head of the request was parsed.
        :param headers: returns the headers of ``request``, for a Unix socket.
        """
        if arrived_ns is None:
            self._count_header(headers, request)
        elif arrived_ns != NOT_KNOWN_NS:
            waited_ms = (self._clock_ns() - arrived_ns + MS_NS // 2) // MS_NS
            bucket = waited_ms if waited_ms < EXACT_MS else bucket_of(waited_ms)
            slot = self._slot
            slot.counters[bucket] = waits = slot.counters[bucket] + 1
            slot.waits[bucket] = waits
        return app(request, *args)

    def _count_header(self, headers: Callable[[Any], Headers], request: Any) -> int | None:
        """Count the wait by a proxy's header, and return the wait in ms."""
        try:
            pairs = [(name.upper(), value) for name, value in headers(request)]
            waited_s = header_wait_s(pairs, time.time())
        except NO_REQUEST:
            return None
        if waited_s is None:
            return None
        waited_ms = round(1000 * waited_s)
        self._slot.count_wait(bucket_of(waited_ms))
        return waited_ms
