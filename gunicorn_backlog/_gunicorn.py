"""What we use of gunicorn's objects, and nothing else; the same from gunicorn 20.1.0 to 27.0.1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_OURS = "__gunicorn_backlog__"  # an attribute of our hooks, and of what calls them


class Setting(Protocol):
    """``gunicorn.config.Setting``."""

    default: object

    def get(self) -> Any: ...


class Config(Protocol):
    """``gunicorn.config.Config``: a new object after each HUP."""

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
    """``gunicorn.sock.BaseSocket``; it also has the methods of its socket, until it is closed."""

    sock: object | None


class WorkerSocket(Protocol):
    """``gunicorn.sock.BaseSocket`` in a worker, or what gevent made of it."""

    @property
    def family(self) -> int: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


class Heartbeat(Protocol):
    """``gunicorn.workers.workertmp.WorkerTmp``: a file that a worker touches to show progress."""

    def last_update(self) -> float:
        """Return when it was touched; raises OSError and ValueError when it was closed.

        The clock is the wall's in 20.1.0, and monotonic since 23 except before the first touch.
        """


class Log(Protocol):
    """The methods of a ``logger_class`` that we call; gunicorn requires all of them."""

    @property
    def info(self) -> Callable[..., object]: ...
    @property
    def warning(self) -> Callable[..., object]: ...
    @property
    def error(self) -> Callable[..., object]: ...


class Worker(Protocol):
    """``gunicorn.workers.base.Worker``."""

    age: int  # 1 for the arbiter's first worker, 2 for its second: never the same twice
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

    @property
    def log(self) -> Log: ...
    def manage_workers(self) -> None:
        """Fork and stop workers; called in each turn of the main loop."""


def is_ours(hook: F) -> F:
    """Mark a hook as one of ours, or as one that calls ours."""
    setattr(hook, _OURS, True)
    return hook


def has_ours(hook: object) -> bool:
    """Return whether a hook is marked by ``is_ours``."""
    return getattr(hook, _OURS, False) is True


def callable_of(hook: object) -> Callable[..., Any] | None:
    """Return a hook as gunicorn calls it; None if gunicorn accepts no such value."""
    from gunicorn.config import validate_callable

    try:
        function: Callable[..., Any] = validate_callable(-1)(hook)
    except TypeError:
        return None
    return function


class Hooks(NamedTuple):
    """The hooks of a config: whether any is ours, and which of them gunicorn itself put there."""

    has_ours: bool
    when_ready_is_default: bool
    post_worker_init_is_default: bool


def hooks_of(cfg: Config) -> Hooks:
    """Return what is known of the hooks of a config; the user's own may call ours."""
    ready, init, end = (cfg.settings[it] for it in ("when_ready", "post_worker_init", "on_exit"))
    return Hooks(
        any(has_ours(setting.get()) for setting in (ready, init, end)),
        ready.get() is ready.default,
        init.get() is init.default,
    )


def logger(owner: Arbiter | Worker) -> Log | None:
    """Return the logger of an arbiter or a worker, unless it is gunicorn's statsd logger.

    That one sends a metric for each warning, and may wait for the Agent to take it.
    """
    log: Log | None = getattr(owner, "log", None)
    return None if _is_statsd(type(log)) else log


def _is_statsd(logger_class: type) -> bool:
    names = [(base.__module__, base.__name__) for base in logger_class.__mro__]
    return ("gunicorn.instrument.statsd", "Statsd") in names


def pushes_backlog(cfg: Config) -> bool:
    """Return whether gunicorn pushes a ``gunicorn.backlog`` of its own: it may since 24.1.

    ``enable_backlog_metric`` alone does nothing: the metric is an extra of a log record, and only
    the logger that ``statsd_host`` selects pushes it.
    """
    if not getattr(cfg, "enable_backlog_metric", False) or not cfg.statsd_host:
        return False
    return _is_statsd(cfg.logger_class)


def at_each_turn(arbiter: Arbiter, call: Callable[[], None]) -> None:
    """Call ``call`` in each turn of the arbiter's main loop, as a rule once a second.

    It runs in the main thread before ``manage_workers``, which is looked up on the instance.
    """
    manage_workers = arbiter.manage_workers

    @wraps(manage_workers)
    def call_and_manage_workers() -> None:
        call()
        manage_workers()

    arbiter.manage_workers = call_and_manage_workers  # type: ignore[method-assign]  # on purpose


def running(arbiter: Arbiter) -> dict[int, int]:
    """Return the age of each worker that the arbiter has, by pid.

    The arbiter's main thread may change its dictionary meanwhile: ``list`` copies it in one step.
    """
    ages = {}
    for pid, worker in list(arbiter.WORKERS.items()):  # sooner than one expression, to Python 3.11
        ages[pid] = worker.age
    return ages


def forked(arbiter: Arbiter) -> int:
    """Return how many workers the arbiter forked so far."""
    return arbiter.worker_age
