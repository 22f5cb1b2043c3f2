"""gunicorn's tornado worker, with a WSGI app or with one of tornado's own.

Nothing of tornado is imported: what the worker was given says which it is.
"""

from __future__ import annotations

import sys
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.slot import Kind
from gunicorn_backlog.workers import wsgi
from gunicorn_backlog.workers.counting import InFlight

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import WSGIWorker
    from gunicorn_backlog.workers import Claim


def watch(worker: WSGIWorker, claim: Claim) -> None:
    """Wrap the WSGI app, or else what executes tornado's request handlers."""
    app = worker.wsgi
    if _is_a(app, "tornado.web", "Application"):
        _count_handlers(InFlight(claim(Kind.WSGI, 0)))
    elif _is_a(app, "tornado.wsgi", "WSGIContainer"):
        in_flight = InFlight(claim(Kind.WSGI, 0))
        app.wsgi_application = wsgi.counted(app.wsgi_application, in_flight)
    else:
        wsgi.watch(worker, claim)


def _is_a(app: object, module: str, name: str) -> bool:
    return any(it.__module__ == module and it.__name__ == name for it in type(app).__mro__)


def _count_handlers(in_flight: InFlight) -> None:
    """Wrap ``RequestHandler._execute`` and ``WSGIContainer.handle_request``, in this process.

    The first ends when the handler has, a websocket's with its connection; the second is what a
    FallbackHandler leaves behind. On the classes, for an app may route requests to handlers that it
    does not know itself, of another app in it.
    """
    handler: Any = sys.modules["tornado.web"].RequestHandler
    handler._execute = _counted(handler._execute, in_flight)
    container: Any = sys.modules["tornado.wsgi"].WSGIContainer
    if iscoroutinefunction(getattr(container, "handle_request", None)):  # since tornado 6.3
        container.handle_request = _counted(container.handle_request, in_flight)


def _counted(method: Any, in_flight: InFlight) -> Any:
    async def method_counted(*args: object, **named: object) -> object:
        in_flight.begin()
        try:
            return await method(*args, **named)
        finally:
            in_flight.end()

    return method_counted
