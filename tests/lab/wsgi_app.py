"""The WSGI app of the tests: requests that are held, last long, or fail."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.request_log import noted

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LONGEST_S = 60.0
PART = b"part of a stream\n" * 10
FILE = Path(__file__).parents[2] / "README.md"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond by the path; by default with the worker's pid."""
    path = environ["PATH_INFO"]
    for prefix, serve in PATHS.items():
        if path.startswith(prefix):
            return serve(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def hold(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond as soon as the file $RELEASE exists."""
    deadline_s = time.monotonic() + LONGEST_S
    release = Path(os.environ["RELEASE"])
    with noted():
        while not release.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def fork_and_hold(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Fork a child that exits at once."""
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    return hold(environ, start_response)


def last(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond after the milliseconds in the path: ``/last/150``."""
    with noted():
        time.sleep(int(environ["PATH_INFO"].split("/")[2]) / 1000)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond with a constant, in two parts."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"con", b"stant"]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Respond in parts, of unknown length."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    with noted():
        yield PART
        yield b""
        yield PART


def endless(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Send parts until the client has disconnected and gunicorn closes the generator."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    with noted():
        for _ in range(200):
            yield PART
            time.sleep(0.001)


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond with a file, which gunicorn sends by sendfile where possible."""
    size = str(FILE.stat().st_size)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", size)])
    opened: Iterable[bytes] = environ["wsgi.file_wrapper"](FILE.open("rb"))
    return opened


def fail(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Raise before the response."""
    with noted():
        raise RuntimeError("as asked")


def fail_late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Raise after the first part of the response."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    with noted():
        yield PART
        raise RuntimeError("as asked")


def leave(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Raise SystemExit, as ``sys.exit()`` does."""
    with noted():
        sys.exit(5)  # 3 and 4 would stop the arbiter


PATHS: dict[str, Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]] = {
    "/hold": hold,
    "/fork-and-hold": fork_and_hold,
    "/last": last,
    "/plain": plain,
    "/stream": stream,
    "/endless": endless,
    "/file": file,
    "/fail-late": fail_late,
    "/fail": fail,
    "/leave": leave,
}
