"""The apps that are served while it is measured: the smallest, in plain WSGI and in Flask."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def smallest(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a constant."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def held(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer when the request's body has come, of one byte."""
    environ["wsgi.input"].read(1)
    return smallest(environ, start_response)


def in_flask() -> Any:
    """Return the smallest app of Flask, for what hooks into Flask."""
    app = import_module("flask").Flask("smallest")
    app.add_url_rule("/", "index", lambda: "ok")
    return app


def in_flask_with_judoscale() -> Any:
    """Return the same app with judoscale's extension, as its documentation has it."""
    app = in_flask()
    import_module("judoscale.flask").Judoscale(app)
    return app
