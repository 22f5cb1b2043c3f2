"""An app that looks for copies of our thread in its own process, where none may exist."""

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
    """Respond at /traces with the pid and the number of copies of our thread; else as wsgi_app."""
    if environ["PATH_INFO"] == "/first":
        return first_request_app.app(environ, start_response)
    if environ["PATH_INFO"] != "/traces":
        return held.app(environ, start_response)
    answer = f"{os.getpid()} {copies_of_our_thread()}".encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


def copies_of_our_thread() -> int:
    """Return the number of threads and greenlets of this process that run our monitor's code."""
    frames: list[Any] = list(sys._current_frames().values())
    objects = gc.get_objects()
    greenlets = {kind for kind in set(map(type, objects)) if _is_greenlet(kind)}
    frames += [getattr(each, "gr_frame", None) for each in objects if type(each) in greenlets]
    return sum(map(_is_ours, frames))


def _is_greenlet(kind: type) -> bool:
    return any(base.__name__ == "greenlet" for base in kind.__mro__)


def _is_ours(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == monitor.__file__:
            return True
        frame = frame.f_back
    return False


def udp_sockets_to(port: int, pid: int) -> int:
    """Return the number of the process's UDP sockets connected to that port of IPv4."""
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if int(row[2].partition(":")[2], 16) == port}
    return sum(link.removeprefix("socket:[")[:-1] in inodes for link in descriptors(pid).values())
