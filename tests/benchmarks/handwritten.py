"""The usual hand-written monitor: a thread, and a ``multiprocessing.Value`` for each worker.

Written for these benchmarks after public descriptions of hand-written monitors: gunicorn's
``when_ready`` starts a thread in the arbiter. Every second the thread sends the sum of
``tcpi_unacked`` of all listeners, and the number of busy workers, as gauges of statsd. ``pre_fork``
creates the worker's Value, which ``pre_request`` sets to 1 and ``post_request`` to 0.

The destination is $HANDWRITTEN_PORT of 127.0.0.1, by an own socket: gunicorn's statsd client would
send three more datagrams per request.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import threading
import time
from typing import Any

__all__ = ["post_request", "pre_fork", "pre_request", "when_ready"]

EVERY_S = 1.0
TCP_INFO = struct.Struct("=24xI")  # tcpi_unacked


def when_ready(server: Any) -> None:
    """Start the thread that samples and sends."""
    threading.Thread(target=_run, args=(server,), daemon=True).start()


def pre_fork(server: Any, worker: Any) -> None:
    """Create the worker's Value, shared with the arbiter."""
    worker.busy = multiprocessing.Value("b", 0)


def pre_request(worker: Any, req: Any) -> None:
    """Mark the worker as busy."""
    worker.busy.value = 1


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Mark the worker as idle."""
    worker.busy.value = 0


def _run(server: Any) -> None:
    statsd = ("127.0.0.1", int(os.environ["HANDWRITTEN_PORT"]))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        while True:
            backlog = sum(_backlog(listener.sock) for listener in server.LISTENERS)
            busy = sum(worker.busy.value for worker in list(server.WORKERS.values()))
            for name, value in (("backlog", backlog), ("busy", busy)):
                sock.sendto(f"handwritten.{name}:{value}|g".encode(), statsd)
            time.sleep(EVERY_S)


def _backlog(listener: socket.socket) -> int:
    tcp_info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    (waiting,) = TCP_INFO.unpack(tcp_info)
    return int(waiting)
