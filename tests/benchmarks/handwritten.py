"""The usual hand-written monitor: a thread, and a ``multiprocessing.Value`` for each worker.

It was written for these benchmarks, after how such monitors are described in public: gunicorn's
``when_ready`` starts a thread in the arbiter; every second it sends the sum of ``tcpi_unacked`` of
all listeners, and how many workers are busy, as gauges of statsd. ``pre_fork`` gives a worker its
Value, which ``pre_request`` sets to 1 and ``post_request`` to 0.

It sends to $HANDWRITTEN_PORT of 127.0.0.1, by a socket of its own: gunicorn's statsd client would
make it send three datagrams for each request, too.
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
    """Start the thread."""
    threading.Thread(target=_watch, args=(server,), daemon=True).start()


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker a Value that it shares with the arbiter."""
    worker.busy = multiprocessing.Value("b", 0)


def pre_request(worker: Any, req: Any) -> None:
    """Say that the worker is busy."""
    worker.busy.value = 1


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Say that it is not."""
    worker.busy.value = 0


def _watch(server: Any) -> None:
    statsd = ("127.0.0.1", int(os.environ["HANDWRITTEN_PORT"]))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        while True:
            backlog = sum(_waiting(it.sock) for it in server.LISTENERS)
            busy = sum(worker.busy.value for worker in list(server.WORKERS.values()))
            for name, value in (("backlog", backlog), ("busy", busy)):
                sock.sendto(f"handwritten.{name}:{value}|g".encode(), statsd)
            time.sleep(EVERY_S)


def _waiting(listener: socket.socket) -> int:
    tcp_info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    (waiting,) = TCP_INFO.unpack(tcp_info)
    return int(waiting)
