"""aiohttp's workers: the event loop, requests and websockets in flight, and waits.

``AppRunner`` is a local variable of the worker's ``_run``, and the worker inspects the type of its
app. Therefore the class that serves a connection is replaced, in the worker's process.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.workers.app_proxy import before_run
from gunicorn_backlog.workers.exposed_loop_waits import waits_of
from gunicorn_backlog.workers.exposed_wait import scoped_async
from gunicorn_backlog.workers.in_flight import InFlight
from gunicorn_backlog.workers.loops.watch import watch_asyncio
from gunicorn_backlog.workers.max_requests import MaxRequests
from gunicorn_backlog.workers.received_wait import NOT_KNOWN_NS, Headers, ReceivedWaits

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import AiohttpWorker
    from gunicorn_backlog.workers.registry import Allocate


def instrument(worker: AiohttpWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Replace the class of ``Server.__call__``, a global of its module, and watch the loop."""
    server: Any = sys.modules["aiohttp.web_server"]
    handler = server.RequestHandler
    slot = allocate(Kind.ASGI, 0)
    waits = waits_of(slot, worker.sockets, exposes=exposes)
    if worker.max_requests:
        worker.max_requests = MaxRequests.of(worker.max_requests, slot)
    server.RequestHandler = _instrumented(handler, worker, InFlight(slot), waits, exposes=exposes)
    before_run(worker, lambda: waits.follow(watch_asyncio(slot, lambda: worker.loop)))


def _instrumented(
    handler: Any,
    worker: AiohttpWorker,
    in_flight: InFlight,
    waits: ReceivedWaits,
    *,
    exposes: bool,
) -> type:
    """Return a subclass of aiohttp's ``RequestHandler``, the protocol of one connection.

    ``_handle_request`` ends when the answer is written, a websocket's with its connection. aiohttp
    answers a malformed request with another handler than the app's; this is no request.
    """
    serve_request, serve_websocket = (
        in_flight.counted_async(handler._handle_request, ages=ages) for ages in (True, False)
    )
    if exposes:
        serve_request = scoped_async(serve_request)
        serve_websocket = scoped_async(serve_websocket)

    class RequestHandler(handler):  # type: ignore[misc]  # aiohttp is not imported here
        __slots__ = ("_backlog_arrived_ns", "_backlog_started")

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self._backlog_arrived_ns: dict[int, int | None] = {}  # by number, until the start
            self._backlog_started = 0

        def _handle_request(
            self, request: Any, start_time: Any, request_handler: Any
        ) -> Awaitable[Any]:
            self._backlog_started += 1
            arrived_ns = self._backlog_arrived_ns.pop(self._backlog_started, NOT_KNOWN_NS)
            if request_handler is not self._request_handler:
                answer: Awaitable[Any] = super()._handle_request(
                    request, start_time, request_handler
                )
                return answer
            start = partial(waits.start, request_handler, arrived_ns, _headers)
            is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
            handle = serve_websocket if is_websocket else serve_request
            return handle(self, request, start_time, start)

    if hasattr(handler, "_request_count"):  # a member of its instances, by __slots__
        RequestHandler.data_received = _measured(handler.data_received, waits, worker)
        waits.begin()
    RequestHandler.__module__ = handler.__module__
    RequestHandler.__qualname__ = handler.__qualname__
    return RequestHandler


def _measured(data_received: Any, waits: ReceivedWaits, worker: AiohttpWorker) -> Any:
    """Return ``data_received``, which parses the heads of requests and counts the requests.

    The app may serve connections in a loop of its own: their requests are not measured.
    """

    def data_received_measured(self: Any, data: bytes) -> None:
        before = self._request_count
        data_received(self, data)
        if self._request_count != before and self._loop is worker.loop:
            arrived_ns = waits.read_ns(self.transport)
            for number in range(before + 1, self._request_count + 1):
                self._backlog_arrived_ns[number] = arrived_ns

    return data_received_measured


def _headers(request: Any) -> Headers:
    pairs: Headers = request.headers.items()
    return pairs
