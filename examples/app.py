"""A WSGI app with a given service time: ``/`` returns at once, ``/sleep/0.5`` after 0.5 s."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LONGEST_S = 30.0


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Sleep for the seconds in the path, then answer."""
    _, _, seconds = environ["PATH_INFO"].partition("/sleep/")
    try:
        time.sleep(min(float(seconds or 0), LONGEST_S))
    except ValueError:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"/sleep/ takes a number of seconds, 0 or more\n"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok\n"]
