"""The WSGI app of the tests: requests that are held until a file appears."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LONGEST_S = 60.0


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the worker's pid; ``/hold`` not before the file $RELEASE exists.

    ``/fork-and-hold`` forks a child that exits at once, as a careless app does.
    """
    if environ["PATH_INFO"] == "/fork-and-hold":
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
    if environ["PATH_INFO"].endswith("hold"):
        deadline_s = time.monotonic() + LONGEST_S
        release = Path(os.environ["RELEASE"])
        while not release.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
