"""A WSGI app that sends HTTPS requests to another server, and lists its process's modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond with the other server's response, or at /modules with names of modules."""
    answer = " ".join(sys.modules).encode() if environ["PATH_INFO"] == "/modules" else fetch()
    length = str(len(answer))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", length)])
    return [answer]


def fetch() -> bytes:
    """Return the other server's response."""
    import requests

    return requests.get(os.environ["FETCH"], verify=os.environ["CA"], timeout=20).content
