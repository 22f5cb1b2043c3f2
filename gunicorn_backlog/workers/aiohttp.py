"""aiohttp's workers: the event loop, requests and websockets in flight.

``AppRunner`` is a local variable of the worker's ``_run``, and the worker inspects the type of its
app. Therefore a class of aiohttp is wrapped, in the worker's process.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.scoreboard.slot import Kind
from gunicorn_backlog.workers.loops.watch import watch_asyncio
from gunicorn_backlog.workers.request_counters import InFlight, before_run

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import AiohttpWorker
    from gunicorn_backlog.workers.registry import Allocate

Handle = Callable[..., Awaitable[Any]]


def instrument(worker: AiohttpWorker, allocate: Allocate) -> None:
    """Wrap ``RequestHandler._handle_request``, and watch the loop.

    ``_handle_request`` ends when the answer is written, a websocket's with its connection.
    """
    protocol: Any = sys.modules["aiohttp.web_protocol"].RequestHandler
    handle_request = protocol._handle_request
    slot = allocate(Kind.ASGI, 0)
    protocol._handle_request = counted(handle_request, InFlight(slot))
    before_run(worker, lambda: watch_asyncio(slot, lambda: worker.loop))


def counted(handle_request: Handle, in_flight: InFlight) -> Handle:
    """Return ``_handle_request``; each call for the app counts as a request.

    aiohttp answers a malformed request with another handler than the app's.
    """
    for_app = in_flight.counted_async(handle_request)

    def handle_request_counted(
        protocol: Any, request: Any, start_time: Any, request_handler: Any
    ) -> Awaitable[Any]:
        is_for_app = request_handler is getattr(protocol, "_request_handler", None)
        handle = for_app if is_for_app else handle_request
        return handle(protocol, request, start_time, request_handler)

    return handle_request_counted
