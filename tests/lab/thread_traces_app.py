"""Traces of our thread where it must not be: an app that looks for them in its own process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.arbiter import monitor
from tests.lab import first_request_app
from tests.lab import wsgi_app as held
from tests.lab.procfs import descriptors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer /traces with the pid and the copies of our thread; /first, and as the tests' app."""
    if environ["PATH_INFO"] == "/first":
        return first_request_app.app(environ, start_response)
    if environ["PATH_INFO"] != "/traces":
        return held.app(environ, start_response)
    answer = f"{os.getpid()} {copies_of_our_thread()}".encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


def copies_of_our_thread() -> int:
    """Count the threads and greenlets of this process that are in our monitor's code."""
    frames: list[Any] = list(sys._current_frames().values())
    frames += [getattr(it, "gr_frame", None) for it in gc.get_objects() if _is_greenlet(it)]
    return sum(map(_is_ours, frames))


def _is_greenlet(it: object) -> bool:
    return any(base.__name__ == "greenlet" for base in type(it).__mro__)


def _is_ours(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == monitor.__file__:
            return True
        frame = frame.f_back
    return False


def udp_sockets_to(port: int, pid: int) -> int:
    """Count the process's UDP sockets that are connected to that port of IPv4."""
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if int(row[2].partition(":")[2], 16) == port}
    return sum(link.removeprefix("socket:[")[:-1] in inodes for link in descriptors(pid).values())
