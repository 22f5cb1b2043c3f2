"""Apps of the measured servers: the smallest ones, and one that blocks."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def smallest(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond with a constant."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def held(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond after the arrival of the request's body, one byte."""
    environ["wsgi.input"].read(1)
    return smallest(environ, start_response)


def in_flask() -> Any:
    """Return the smallest Flask app, the base of monitors for Flask."""
    app = import_module("flask").Flask("smallest")
    app.add_url_rule("/", "index", lambda: "ok")
    return app


def in_flask_with_judoscale() -> Any:
    """Return the Flask app with judoscale's extension, set up by its documentation."""
    app = in_flask()
    import_module("judoscale.flask").Judoscale(app)
    return app


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Respond with a constant."""
    if scope["type"] != "http":
        raise NotImplementedError  # no lifespan
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def asgi_with_judoscale() -> Any:
    """Return the ASGI app in judoscale's middleware, set up by its documentation."""
    return import_module("judoscale.asgi.middleware").StarletteRequestQueueTimeMiddleware(asgi)
