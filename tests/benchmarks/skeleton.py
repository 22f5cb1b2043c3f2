"""gunicorn's sync worker without its own work: only the code of monitors remains.

A config file that calls ``strip()`` first yields a real gunicorn with real hooks. Its workers serve
no clients, and time rounds of requests on demand (``Rounds``). A request is a call of ``handle``.
This makes the calls that monitors hook into, in the order of gunicorn 27.0.1: ``handle_request``,
and inside ``pre_request``, the app, the access log, ``post_request``.
"""

from __future__ import annotations

import io
import os
import socket
import time
import timeit
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any
from wsgiref.util import setup_testing_defaults

from gunicorn.workers.sync import SyncWorker

CALLS = 500  # per round
PORT = "ROUNDS_PORT"  # the environment variable

RESPONSE = SimpleNamespace(status="200 OK", sent=2, headers=[])


def strip() -> None:
    """Replace gunicorn's methods of all sync workers of this process."""
    SyncWorker.handle = _handle
    SyncWorker.handle_request = _handle_request
    SyncWorker.run = _run


class Rounds:
    """The benchmark's end of a connection by which a worker times rounds."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(20)
        self.environ = {PORT: str(self._listener.getsockname()[1])}

    def connected(self) -> None:
        """Wait for the worker's connection."""
        self._worker = self._stack.enter_context(self._listener.accept()[0])
        self._worker.settimeout(20)

    def round_ns(self) -> float:
        """Return the processor time per request, the mean of a round."""
        self._worker.sendall(b"a")
        return float(self._worker.recv(64))


def _handle(worker: Any, listener: Any, client: Any, addr: Any) -> None:
    worker.handle_request(listener, SimpleNamespace(method="GET", path="/"), client, addr)


def _handle_request(worker: Any, listener: Any, req: Any, client: Any, addr: Any) -> None:
    worker.cfg.pre_request(worker, req)
    began = datetime.now()
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    answer = worker.wsgi(environ, _start_response)
    for _ in answer:
        pass
    worker.log.access(RESPONSE, req, environ, datetime.now() - began)
    if hasattr(answer, "close"):
        answer.close()
    worker.cfg.post_request(worker, req, environ, RESPONSE)


def _start_response(status: str, headers: object, exc_info: object = None) -> None:
    pass


def _run(worker: Any) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted, addr = listener.accept()
        stack.enter_context(accepted)
        request = partial(worker.handle, listener, accepted, addr)
        timer = timeit.Timer(request, "import gc; gc.enable()", time.process_time)
        benchmark = socket.create_connection(("127.0.0.1", int(os.environ[PORT])))
        stack.enter_context(benchmark)
        while benchmark.recv(1):
            client.sendall(b"a")  # recent data: waits of some ms, as in a server
            benchmark.sendall(str(timer.timeit(CALLS) / CALLS * 1e9).encode())
    worker.alive = False
