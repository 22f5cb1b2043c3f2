"""An app that accepts one host name only, as Django does with ``ALLOWED_HOSTS``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

NAME = "shop.example.com"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond with 200 to requests for this name, and with 400 to others."""
    status = "200 OK" if environ.get("HTTP_HOST") == NAME else "400 Bad Request"
    start_response(status, [("Content-Type", "text/plain")])
    return [status.encode()]
