"""The wait of the current request, for the app: the setting ``request_wait``.

The wait is an int, in whole milliseconds. A context variable holds it, from the head of a request
until the end of the response. ``asyncio.create_task``, ``asyncio.to_thread``, anyio, asgiref and
``gevent.spawn`` copy the context, and with it the wait. A bare thread and ``run_in_executor`` have
contexts of their own, without a wait.

Each request sets the variable, also if its wait is unknown: an event loop may call a server back
in the context of an earlier request of the same connection.

gunicorn_backlog/__init__.py imports this module into every app: it imports only the standard
library.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any, TypeVar

ENVIRON_KEY = "gunicorn_backlog.waited_ms"
EXTENSION = "gunicorn_backlog"

T = TypeVar("T")
App = Callable[..., Any]

_waited_ms: ContextVar[int | None] = ContextVar("gunicorn_backlog.waited_ms", default=None)


def waited_ms() -> int | None:
    """Return how long the current request waited for a worker, in whole milliseconds.

    None outside of a request, for an unknown wait, without the setting ``request_wait``, and in a
    thread that does not copy the context of the request.
    """
    return _waited_ms.get()


set_waited_ms = _waited_ms.set


def scoped(serve: Callable[..., T]) -> Callable[..., T]:
    """Return a function whose calls begin without a wait, and restore the former wait."""

    def serve_scoped(*args: object, **named: object) -> T:
        token = _waited_ms.set(None)
        try:
            return serve(*args, **named)
        finally:
            _restore(token)

    return serve_scoped


def scoped_async(serve: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Return the coroutine function, as ``scoped``."""

    async def serve_scoped(*args: object, **named: object) -> T:
        token = _waited_ms.set(None)
        try:
            return await serve(*args, **named)
        finally:
            _restore(token)

    return serve_scoped


def exposed_wsgi(app: App) -> App:
    """Return the app; its environ has the wait, and the app's answer is returned untouched."""

    def app_exposed(environ: Any, *args: Any, **named: Any) -> Any:
        add_to_environ(environ)
        return app(environ, *args, **named)

    return app_exposed


def add_to_environ(environ: dict[str, Any]) -> None:
    """Add the current wait to a WSGI environ if the wait is known."""
    now = _waited_ms.get()
    if now is not None:
        environ[ENVIRON_KEY] = now


def exposed_asgi(app: App) -> App:
    """Return the app; during each call, ``waited_ms()`` is the wait in the scope.

    All requests pass here, also those that are not measured.
    """

    async def app_exposed(scope: Any, receive: Any, send: Any) -> Any:
        extension = (scope.get("extensions") or {}).get(EXTENSION)
        token = _waited_ms.set(extension["waited_ms"] if extension else None)
        try:
            return await app(scope, receive, send)
        finally:
            _restore(token)

    return app_exposed


def add_to_scope(scope: Any, waited_ms: int | None) -> None:
    """Add a wait to an ASGI scope if the wait is known; servers may share their extensions."""
    if waited_ms is not None:
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {**extensions, EXTENSION: {"waited_ms": waited_ms}}


def _restore(token: Token[int | None]) -> None:
    """Restore the former wait; a coroutine may be closed in another context."""
    with suppress(ValueError):
        _waited_ms.reset(token)
