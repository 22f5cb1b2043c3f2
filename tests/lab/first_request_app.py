"""An app whose first request uses what a fork may leave locked: logging, datadog, names."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from datadog.dogstatsd.base import DogStatsd

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

METRIC = "app.first_request"

logger = logging.getLogger("app")
statsd = DogStatsd(host="127.0.0.1", port=int(os.environ.get("APP_STATSD_PORT", "8125")))
first = True


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond with the worker's pid."""
    global first
    if first:
        first = False
        logger.warning("the app's own line of %d", os.getpid())
        socket.getaddrinfo("localhost", 80)
        statsd.increment(METRIC)
    answer = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
