"""A WSGI app that answers with the time at which it was called."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with CLOCK_MONOTONIC in ns, in 20 digits; after a while if the query is its ms."""
    body = b"%020d" % time.monotonic_ns()
    if environ["QUERY_STRING"]:
        time.sleep(int(environ["QUERY_STRING"]) / 1000)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
