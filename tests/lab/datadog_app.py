"""A WSGI app that counts its requests with the datadog client; its Agent is absent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from datadog.dogstatsd.base import DogStatsd

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WARNING = "Error submitting packet"

# To stderr: the client's own handler drops all records.
logging.basicConfig(level=logging.WARNING)
statsd = DogStatsd(socket_path="/nowhere/of/the/app", disable_telemetry=True)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Count the request, and respond."""
    statsd.increment("app.requests")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
