"""gunicorn's tornado worker, with a WSGI app or with a tornado app, and its event loop.

The module does not import tornado: the names of the app's classes distinguish the two. tornado
starts an app when it has read the complete request. The wait is measured then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import getattr_static, iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.workers import wsgi
from gunicorn_backlog.workers.app_proxy import before_run
from gunicorn_backlog.workers.exposed_loop_waits import waits_of
from gunicorn_backlog.workers.exposed_wait import add_to_environ, scoped, scoped_async
from gunicorn_backlog.workers.in_flight import InFlight
from gunicorn_backlog.workers.loops.watch import watch_asyncio
from gunicorn_backlog.workers.received_wait import Headers, ReceivedWaits

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import WSGIWorker
    from gunicorn_backlog.workers.registry import Allocate

T = TypeVar("T")


def instrument(worker: WSGIWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Wrap the WSGI app, or tornado's methods that run its request handlers; watch the loop."""
    app = worker.wsgi
    slot = allocate(Kind.WSGI, 0)
    waits = waits_of(slot, worker.sockets, exposes=exposes)
    if _is_a(app, "tornado.web", "Application"):
        _count_handlers(InFlight(slot), waits, exposes)
    elif _is_a(app, "tornado.wsgi", "WSGIContainer"):
        app.wsgi_application = wsgi.counted(app.wsgi_application, InFlight(slot))
    else:
        wsgi.instrument(worker, slot)
    if not _is_a(app, "tornado.web", "Application"):
        _measure_container(waits, exposes)
    waits.begin()
    before_run(worker, lambda: waits.follow(watch_asyncio(slot, _loop)))


def _loop() -> Any:
    """Return the asyncio loop of the IOLoop that the worker asks for in ``run``."""
    ioloop: Any = sys.modules["tornado.ioloop"]
    return ioloop.IOLoop.current().asyncio_loop


def _is_a(app: object, module: str, name: str) -> bool:
    return any(base.__module__ == module and base.__name__ == name for base in type(app).__mro__)


def _start(waits: ReceivedWaits, call: Callable[[Any], T], request: Any) -> T:
    """Count the wait of an ``HTTPServerRequest``, and call the function that serves it."""
    stream = getattr(request.connection, "stream", None)
    return waits.start(call, waits.arrived_ns(getattr(stream, "socket", None)), _headers, request)


def _headers(request: Any) -> Headers:
    pairs: Headers = request.headers.get_all()
    return pairs


def _measure_container(waits: ReceivedWaits, exposes: bool) -> None:
    """Wrap ``WSGIContainer.environ``, which the container calls right before the app.

    With an executor of the app's own the wait ends when the request is handed to the executor.
    """
    container: Any = sys.modules["tornado.wsgi"].WSGIContainer
    environ = container.environ

    def environ_measured(*args: Any) -> Any:
        return _start(waits, lambda request: environ(*args), args[-1])

    def environ_exposed(*args: Any) -> Any:
        made = environ_measured(*args)
        add_to_environ(made)
        return made

    measured = environ_exposed if exposes else environ_measured
    is_static = isinstance(getattr_static(container, "environ"), staticmethod)  # before tornado 6.3
    container.environ = staticmethod(measured) if is_static else measured
    if exposes:
        _scope_container(container)


def _scope_container(container: Any) -> None:
    """Wrap the method that calls the app, so that the wait ends with the request."""
    if iscoroutinefunction(getattr(container, "handle_request", None)):  # since tornado 6.3
        container.handle_request = scoped_async(container.handle_request)
    else:
        container.__call__ = scoped(container.__call__)


def _count_handlers(in_flight: InFlight, waits: ReceivedWaits, exposes: bool) -> None:
    """Wrap ``RequestHandler._execute`` and ``WSGIContainer.handle_request``, in this process.

    ``_execute`` ends with the handler, a websocket's with its connection. ``handle_request`` goes
    on after a FallbackHandler has ended. The classes are wrapped, not instances: an app may route
    requests to the handlers of another app.
    """
    web: Any = sys.modules["tornado.web"]
    container: Any = sys.modules["tornado.wsgi"].WSGIContainer
    counting = [web.Application]
    if iscoroutinefunction(getattr(container, "handle_request", None)):  # since tornado 6.3
        container.handle_request = in_flight.counted_async(container.handle_request)
        _measure_container(waits, exposes)
        counting.append(container)
    web.RequestHandler._execute = _counted(web, in_flight, waits, tuple(counting), exposes)


def _counted(
    web: Any,
    in_flight: InFlight,
    waits: ReceivedWaits,
    counting: tuple[type, ...],
    exposes: bool,
) -> Any:
    """Return ``_execute`` with a count; a FallbackHandler does not count if its fallback does."""
    execute, fallback_handler = web.RequestHandler._execute, web.FallbackHandler

    async def execute_measured(handler: Any, *args: object, **named: object) -> Any:
        return await _start(
            waits, lambda request: execute(handler, *args, **named), handler.request
        )

    measured = scoped_async(execute_measured) if exposes else execute_measured
    execute_counted = in_flight.counted_async(measured)
    serve_websocket = in_flight.counted_async(measured, ages=False)

    def execute_once(handler: Any, *args: object, **named: object) -> Any:
        if isinstance(handler, fallback_handler) and isinstance(handler.fallback, counting):
            return execute(handler, *args, **named)
        is_websocket = hasattr(handler, "ws_connection")  # of tornado.websocket.WebSocketHandler
        serve = serve_websocket if is_websocket else execute_counted
        return serve(handler, *args, **named)

    return execute_once
