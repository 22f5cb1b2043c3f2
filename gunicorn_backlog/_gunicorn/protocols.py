"""The used parts of gunicorn's objects (20.1.0 to 27.0.1), and of other packages' workers.

Only type checkers import this module: its classes take 70 KB and some milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol


class Setting(Protocol):
    """``gunicorn.config.Setting``."""

    default: object

    def get(self) -> Any: ...


class Config(Protocol):
    """``gunicorn.config.Config``; each HUP creates a new object."""

    settings: Mapping[str, Setting]
    workers: int
    logger_class: type
    statsd_host: object
    statsd_prefix: str
    dogstatsd_tags: str
    timeout: int
    backlog: int
    address: Sequence[tuple[str, int] | str | int]
    reuse_port: bool
    worker_class_str: str
    is_ssl: bool
    threads: int


class Listener(Protocol):
    """``gunicorn.sock.BaseSocket``, with its socket's methods; ``close`` sets ``sock`` to None."""

    sock: object | None


class WorkerSocket(Protocol):
    """``gunicorn.sock.BaseSocket`` in a worker, or gevent's socket in its place."""

    @property
    def family(self) -> int: ...
    def fileno(self) -> int: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


class Heartbeat(Protocol):
    """``gunicorn.workers.workertmp.WorkerTmp``: a file that a worker touches regularly."""

    def last_update(self) -> float:
        """Return the time of the latest touch. Raises OSError and ValueError for a closed file.

        The clock is the wall clock in 20.1.0. Since 23 the clock is monotonic, except before the
        first touch.
        """


class Log(Protocol):
    """The methods of a ``logger_class`` that this package calls; gunicorn requires them, too."""

    @property
    def info(self) -> Callable[..., object]: ...
    @property
    def warning(self) -> Callable[..., object]: ...
    @property
    def error(self) -> Callable[..., object]: ...


class Worker(Protocol):
    """``gunicorn.workers.base.Worker``."""

    age: int  # 1 for the arbiter's first worker, 2 for its second; never reused
    pid: int
    aborted: bool  # in the arbiter: gunicorn killed the worker after its timeout
    cfg: Config
    sockets: Sequence[WorkerSocket]

    @property
    def tmp(self) -> Heartbeat: ...
    @property
    def log(self) -> Log: ...


class SyncWorker(Worker, Protocol):
    """``gunicorn.workers.sync.SyncWorker``."""

    handle: Callable[..., object]  # called for each connection
    handle_request: Callable[..., object]


class ThreadWorker(Worker, Protocol):
    """``gunicorn.workers.gthread.ThreadWorker``; its last three methods exist in gunicorn 25."""

    alive: bool
    tpool: object
    handle_request: Callable[..., object]
    handle: Callable[..., object]  # called for each request, in a thread of the pool
    enqueue_req: Callable[..., object]  # called before that, in the main thread
    handle_http2: Callable[..., object]
    handle_http2_request: Callable[..., object]
    set_accept_enabled: Callable[..., object]


class GreenletWorker(Worker, Protocol):
    """``gunicorn.workers.base_async.AsyncWorker``; its HTTP/2 method exists since gunicorn 25."""

    wsgi: Callable[..., Any]
    wsgi_handler: Any  # the class by which gevent's pywsgi server handles a connection
    handle_request: Callable[..., object]
    handle_http2_request: Callable[..., object]


class WSGIWorker(Worker, Protocol):
    """A worker that runs its app in another package's WSGI server."""

    wsgi: Any


class ASGIWorker(Worker, Protocol):
    """``gunicorn.workers.gasgi.ASGIWorker``."""

    loop: Any  # asyncio's or uvloop's; made before the app is loaded
    asgi: Callable[..., Awaitable[None]]


class AiohttpWorker(Worker, Protocol):
    """``aiohttp.worker.GunicornWebWorker``."""

    loop: Any  # asyncio's or uvloop's; made before the app is loaded
    max_requests: int


class UvicornConfig(Protocol):
    """``uvicorn.config.Config``."""

    limit_max_requests: int | None
    load: Callable[[], None]
    loaded_app: Callable[..., Awaitable[None]]  # after load
    http_protocol_class: type  # after load


class UvicornWorker(Worker, Protocol):
    """``uvicorn_worker.UvicornWorker``, and its predecessor ``uvicorn.workers.UvicornWorker``."""

    config: UvicornConfig


class Arbiter(Protocol):
    """``gunicorn.arbiter.Arbiter``; its main thread may change each attribute at any time."""

    cfg: Config
    proc_name: str  # ends in ".2" from a USR2 upgrade until the promotion
    worker_class: type  # of the next fork; older workers may have another class
    worker_age: int  # the age of the youngest worker: the number of forks
    LISTENERS: Sequence[Listener]  # replaced by HUP; empty with reuse_port and during shutdown
    WORKERS: Mapping[int, Worker]  # by pid; changed in place at each fork and exit

    @property
    def log(self) -> Log: ...
    def manage_workers(self) -> None:
        """Fork and stop workers; the main loop calls this method in each turn."""

    def reap_workers(self) -> None:
        """Reap dead workers; before gunicorn 24 in a signal handler, too."""

    def kill_worker(self, pid: int, sig: int) -> None:
        """Send a signal to a worker."""
