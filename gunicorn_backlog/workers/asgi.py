"""ASGI workers, gunicorn's own and uvicorn's: the event loop, requests and websockets in flight.

For the waits of requests see ``asgi_waits``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.log import OnceLogger, log_errors
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.workers.app_proxy import AppProxy, before_run
from gunicorn_backlog.workers.asgi_waits import measure_gunicorn, measure_uvicorn
from gunicorn_backlog.workers.exposed_loop_waits import ScopeWaits, waits_of
from gunicorn_backlog.workers.exposed_wait import exposed_asgi
from gunicorn_backlog.workers.in_flight import InFlight
from gunicorn_backlog.workers.loops.watch import watch_asyncio
from gunicorn_backlog.workers.max_requests import MaxRequests
from gunicorn_backlog.workers.received_wait import ReceivedWaits

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import ASGIWorker, UvicornWorker
    from gunicorn_backlog.workers.registry import Allocate

ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]


def instrument(worker: ASGIWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Wrap the app, and watch the loop, right before the worker runs.

    With the uWSGI protocol the waits are not measured: gunicorn reads those heads in another way.
    """
    slot = allocate(Kind.ASGI, 0)
    in_flight, waits = InFlight(slot), _waits_of(worker, slot, exposes)
    if getattr(worker.cfg, "protocol", "http") == "http":
        measure_gunicorn(waits)

    def wrap() -> None:
        waits.follow(watch_asyncio(slot, lambda: worker.loop))
        app = counted(worker.asgi, in_flight)
        worker.asgi = AppProxy(worker.asgi, exposed_asgi(app) if exposes else app)

    before_run(worker, wrap)


def instrument_uvicorn(worker: UvicornWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Wrap the ASGI 3 app that uvicorn's config makes of the worker's app.

    The worker's app stays unwrapped: uvicorn inspects whether the app is a factory, WSGI or ASGI 2.
    uvicorn loads its config in the running loop.
    """
    slot = allocate(Kind.ASGI, 0)
    in_flight, waits = InFlight(slot), _waits_of(worker, slot, exposes)
    config = worker.config
    load = config.load
    if config.limit_max_requests is not None:
        config.limit_max_requests = MaxRequests.of(config.limit_max_requests, slot)

    def load_counted() -> None:
        load()
        app = counted(config.loaded_app, in_flight)
        config.loaded_app = exposed_asgi(app) if exposes else app
        log_errors(OnceLogger(), "measuring waits", lambda: measure_uvicorn(config, waits))
        waits.follow(watch_asyncio(slot, asyncio.get_running_loop))

    config.load = load_counted


def _waits_of(worker: ASGIWorker | UvicornWorker, slot: Slot, exposes: bool) -> ReceivedWaits:
    return waits_of(slot, worker.sockets, exposes=exposes, exposed=ScopeWaits)


def counted(app: ASGIApp, in_flight: InFlight) -> ASGIApp:
    """Return the app as a function; each call except the lifespan counts as a request."""
    request = in_flight.counted_async(app)  # with the app's result, which uvicorn checks
    websocket = in_flight.counted_async(app, ages=False)
    by_type = {"http": request, "websocket": websocket, "lifespan": app}

    def app_counted(scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
        return by_type.get(scope["type"], request)(scope, receive, send)

    return app_counted
