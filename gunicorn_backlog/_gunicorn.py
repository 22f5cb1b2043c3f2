"""The parts of gunicorn's objects that this package uses, in gunicorn 20.1.0 to 27.0.1.

Protocols come first, then the functions that touch gunicorn's internals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_OURS = "__gunicorn_backlog__"  # an attribute of our hooks and of the hooks that call them


class Setting(Protocol):
    """``gunicorn.config.Setting``."""

    default: object

    def get(self) -> Any: ...


class Config(Protocol):
    """``gunicorn.config.Config``; each HUP creates a new object."""

    @property
    def settings(self) -> Mapping[str, Setting]: ...
    @property
    def workers(self) -> int: ...
    @property
    def logger_class(self) -> type: ...
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
    """``gunicorn.sock.BaseSocket``; until it is closed, also with its socket's methods."""

    sock: object | None


class WorkerSocket(Protocol):
    """``gunicorn.sock.BaseSocket`` in a worker, or gevent's socket in its place."""

    @property
    def family(self) -> int: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


class Heartbeat(Protocol):
    """``gunicorn.workers.workertmp.WorkerTmp``: a file that a working worker touches."""

    def last_update(self) -> float:
        """Return the time of the latest touch. Raises OSError and ValueError for a closed file.

        The clock is the wall clock in 20.1.0. Since 23 the clock is monotonic, except before the
        first touch.
        """


class Log(Protocol):
    """A ``logger_class``, with the methods that gunicorn itself calls."""

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

    @property
    def tmp(self) -> Heartbeat: ...
    @property
    def log(self) -> Log: ...


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
    """``gunicorn.workers.gthread.ThreadWorker``; its HTTP/2 methods exist since gunicorn 25."""

    cfg: WorkerConfig
    sockets: Sequence[WorkerSocket]
    tpool: object
    handle_request: Callable[..., object]
    handle: Callable[..., object]  # called for each request, in a thread of the pool
    enqueue_req: Callable[..., object]  # called for each request before, in the main thread
    handle_http2: Callable[..., object]
    handle_http2_request: Callable[..., object]


class GreenletWorker(Worker, Protocol):
    """``gunicorn.workers.base_async.AsyncWorker``; its HTTP/2 method exists since gunicorn 25."""

    sockets: Sequence[WorkerSocket]
    wsgi: Callable[..., Any]
    wsgi_handler: Any  # the class by which gevent's pywsgi server handles a connection
    handle_request: Callable[..., object]
    handle_http2_request: Callable[..., object]


class WSGIWorker(Worker, Protocol):
    """A worker that runs its app in another package's WSGI server."""

    wsgi: Any


class ASGIWorker(Worker, Protocol):
    """``gunicorn.workers.gasgi.ASGIWorker``."""

    asgi: Callable[..., Awaitable[None]]


class UvicornConfig(Protocol):
    """``uvicorn.config.Config``."""

    load: Callable[[], None]
    loaded_app: Callable[..., Awaitable[None]]  # after load


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


def is_ours(hook: F) -> F:
    """Mark a hook as ours, or as a caller of ours; return the hook."""
    setattr(hook, _OURS, True)
    return hook


def has_ours(hook: object) -> bool:
    """Return whether a hook is marked by ``is_ours``."""
    return getattr(hook, _OURS, False) is True


def callable_of(hook: object) -> Callable[..., Any] | None:
    """Return the function of a hook's value; None if gunicorn does not accept the value."""
    from gunicorn.config import validate_callable

    try:
        function: Callable[..., Any] = validate_callable(-1)(hook)
    except TypeError:
        return None
    return function


class Hooks(NamedTuple):
    """The hooks of a config: whether any is ours, and which of them are gunicorn's defaults."""

    has_ours: bool
    when_ready_is_default: bool
    post_worker_init_is_default: bool


def hooks_of(cfg: Config) -> Hooks:
    """Return the properties of a config's hooks. A user's unmarked hook may still call ours."""
    names = ("when_ready", "post_worker_init", "on_exit")
    ready, init, end = (cfg.settings[name] for name in names)
    return Hooks(
        any(has_ours(setting.get()) for setting in (ready, init, end)),
        ready.get() is ready.default,
        init.get() is init.default,
    )


def logger(owner: Arbiter | Worker) -> Log | None:
    """Return the logger of an arbiter or a worker; None for gunicorn's statsd logger.

    The statsd logger sends a metric for each warning, and may wait for the Agent.
    """
    log: Log | None = getattr(owner, "log", None)
    return None if _is_statsd(type(log)) else log


def _is_statsd(logger_class: type) -> bool:
    names = [(base.__module__, base.__name__) for base in logger_class.__mro__]
    return ("gunicorn.instrument.statsd", "Statsd") in names


def pushes_backlog(cfg: Config) -> bool:
    """Return whether gunicorn itself pushes a metric ``gunicorn.backlog``, as it can since 24.1.

    ``enable_backlog_metric`` alone has no effect: the metric is an extra of a log record, and only
    the logger that ``statsd_host`` selects pushes these extras.
    """
    if not getattr(cfg, "enable_backlog_metric", False) or not cfg.statsd_host:
        return False
    return _is_statsd(cfg.logger_class)


def at_each_turn(arbiter: Arbiter, call: Callable[[], None]) -> None:
    """Arrange a call in each turn of the arbiter's main loop, at least once per second.

    The call runs in the main thread, before ``manage_workers``. gunicorn looks this method up on
    the instance.
    """
    manage_workers = arbiter.manage_workers

    @wraps(manage_workers)
    def call_and_manage_workers() -> None:
        call()
        manage_workers()

    arbiter.manage_workers = call_and_manage_workers  # type: ignore[method-assign]  # on purpose


def worker_ages(arbiter: Arbiter) -> dict[int, int]:
    """Return the age of each of the arbiter's workers, by pid.

    The arbiter's main thread may change the dictionary at any time: ``list`` copies it atomically.
    """
    return {pid: worker.age for pid, worker in list(arbiter.WORKERS.items())}


def fork_count(arbiter: Arbiter) -> int:
    """Return the number of workers that the arbiter has forked."""
    return arbiter.worker_age
