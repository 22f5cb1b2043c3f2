"""gunicorn's tornado worker, with a WSGI app or with a tornado app, and its event loop.

The module does not import tornado: the names of the app's classes distinguish the two.
"""

from __future__ import annotations

import sys
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.scoreboard.slot import Kind
from gunicorn_backlog.workers import wsgi
from gunicorn_backlog.workers.loops.watch import watch_asyncio
from gunicorn_backlog.workers.request_counters import InFlight, before_run

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import WSGIWorker
    from gunicorn_backlog.workers.registry import Allocate


def instrument(worker: WSGIWorker, allocate: Allocate) -> None:
    """Wrap the WSGI app, or tornado's methods that run its request handlers; watch the loop."""
    app = worker.wsgi
    slot = allocate(Kind.WSGI, 0)
    if _is_a(app, "tornado.web", "Application"):
        _count_handlers(InFlight(slot))
    elif _is_a(app, "tornado.wsgi", "WSGIContainer"):
        app.wsgi_application = wsgi.counted(app.wsgi_application, InFlight(slot))
    else:
        wsgi.instrument(worker, slot)
    before_run(worker, lambda: watch_asyncio(slot, _loop))


def _loop() -> Any:
    """Return the asyncio loop of the IOLoop that the worker asks for in ``run``."""
    ioloop: Any = sys.modules["tornado.ioloop"]
    return ioloop.IOLoop.current().asyncio_loop


def _is_a(app: object, module: str, name: str) -> bool:
    return any(base.__module__ == module and base.__name__ == name for base in type(app).__mro__)


def _count_handlers(in_flight: InFlight) -> None:
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
        counting.append(container)
    web.RequestHandler._execute = _counted(web, in_flight, tuple(counting))


def _counted(web: Any, in_flight: InFlight, counting: tuple[type, ...]) -> Any:
    """Return ``_execute`` with a count; a FallbackHandler does not count if its fallback does."""
    execute, fallback_handler = web.RequestHandler._execute, web.FallbackHandler
    execute_counted = in_flight.counted_async(execute)

    def execute_once(handler: Any, *args: object, **named: object) -> Any:
        if isinstance(handler, fallback_handler) and isinstance(handler.fallback, counting):
            return execute(handler, *args, **named)
        return execute_counted(handler, *args, **named)

    return execute_once
