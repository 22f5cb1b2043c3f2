"""What we use of gunicorn's objects, and nothing else; the same from gunicorn 20.1.0 to 27.0.1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol


class Config(Protocol):
    """``gunicorn.config.Config``: a new object after each HUP."""

    @property
    def statsd_host(self) -> object: ...
    @property
    def statsd_prefix(self) -> str: ...
    @property
    def dogstatsd_tags(self) -> str: ...
    @property
    def timeout(self) -> int: ...
    @property
    def backlog(self) -> int: ...
    @property
    def address(self) -> Sequence[tuple[str, int] | str | int]: ...
    @property
    def reuse_port(self) -> bool: ...
    @property
    def worker_class_str(self) -> str: ...


class Listener(Protocol):
    """``gunicorn.sock.BaseSocket``; it also has the methods of its socket, until it is closed."""

    sock: object | None


class WorkerSocket(Protocol):
    """``gunicorn.sock.BaseSocket`` in a worker, or what gevent made of it."""

    @property
    def family(self) -> int: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


class Worker(Protocol):
    """``gunicorn.workers.base.Worker``."""

    age: int  # 1 for the arbiter's first worker, 2 for its second: never the same twice
    pid: int


class WorkerConfig(Protocol):
    """``gunicorn.config.Config`` in a worker."""

    @property
    def is_ssl(self) -> bool: ...
    @property
    def threads(self) -> int: ...


class SyncWorker(Worker, Protocol):
    """``gunicorn.workers.sync.SyncWorker``."""

    cfg: WorkerConfig
    sockets: Sequence[WorkerSocket]
    handle: Callable[..., object]  # called for each connection
    handle_request: Callable[..., object]


class ThreadWorker(Worker, Protocol):
    """``gunicorn.workers.gthread.ThreadWorker``; the last two since gunicorn 25."""

    cfg: WorkerConfig
    sockets: Sequence[WorkerSocket]
    tpool: object
    handle_request: Callable[..., object]
    handle: Callable[..., object]  # called for each request, in a thread of the pool
    enqueue_req: Callable[..., object]  # called for each of them before, in the main thread
    handle_http2: Callable[..., object]
    handle_http2_request: Callable[..., object]


class GreenletWorker(Worker, Protocol):
    """``gunicorn.workers.base_async.AsyncWorker``; the second method since gunicorn 25."""

    sockets: Sequence[WorkerSocket]
    wsgi: Callable[..., Any]
    wsgi_handler: Any  # the class with which a server of gevent's pywsgi handles a connection
    handle_request: Callable[..., object]
    handle_http2_request: Callable[..., object]


class WSGIWorker(Worker, Protocol):
    """A worker that hands its app to a server of somebody else's."""

    wsgi: Any


class ASGIWorker(Worker, Protocol):
    """``gunicorn.workers.gasgi.ASGIWorker``."""

    asgi: Callable[..., Awaitable[None]]


class UvicornConfig(Protocol):
    """``uvicorn.config.Config``."""

    load: Callable[[], None]
    loaded_app: Callable[..., Awaitable[None]]  # after load


class UvicornWorker(Worker, Protocol):
    """``uvicorn_worker.UvicornWorker``, and ``uvicorn.workers.UvicornWorker`` before it."""

    config: UvicornConfig


class Arbiter(Protocol):
    """``gunicorn.arbiter.Arbiter``; its main thread changes all of this at any time."""

    cfg: Config
    proc_name: str  # ends in ".2" from an USR2 upgrade until the promotion
    worker_class: type  # of the workers that are forked now; older ones may be of another
    worker_age: int  # the age of the youngest worker: how many were forked so far
    LISTENERS: Sequence[Listener]  # replaced by HUP; empty with reuse_port and in a shutdown
    WORKERS: Mapping[int, Worker]  # by pid; changed in place by forks and deaths
