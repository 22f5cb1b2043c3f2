"""Access to gunicorn's internals, and types of the objects that this package uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn.protocols import *  # noqa: F403  # for other folders
    from gunicorn_backlog._gunicorn.protocols import Arbiter, Config, Log, Worker

F = TypeVar("F", bound=Callable[..., Any])

_OURS = "__gunicorn_backlog__"  # an attribute of our hooks and of the hooks that call them


def is_ours(hook: F) -> F:
    """Mark a hook as ours, or as a caller of one of ours; return the hook."""
    setattr(hook, _OURS, True)
    return hook


def has_ours(hook: object) -> bool:
    """Return whether a hook is marked by ``is_ours``."""
    try:
        return getattr(hook, _OURS, False) is True
    except Exception:  # any error of an object's own __getattr__
        return False


def callable_of(hook: object) -> Callable[..., Any] | None:
    """Return the function of a hook's value; None if gunicorn does not accept the value."""
    from gunicorn.config import validate_callable

    try:
        function: Callable[..., Any] = validate_callable(-1)(hook)
    except TypeError:
        return None
    return function


class Hooks(NamedTuple):
    """Properties of a config's hooks.

    has_ours: a hook is ours, or calls ours.
    when_ready_is_default, post_worker_init_is_default: the hook is gunicorn's default.
    """

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
    """Return whether gunicorn itself pushes ``gunicorn.backlog``, possible since 24.1.

    ``enable_backlog_metric`` alone has no effect: the metric is an extra of a log record, and only
    the logger that ``statsd_host`` selects pushes these extras.
    """
    if not getattr(cfg, "enable_backlog_metric", False) or not cfg.statsd_host:
        return False
    return _is_statsd(cfg.logger_class)


def before_each(arbiter: Arbiter, name: str, call: Callable[..., None]) -> None:
    """Arrange a call before each call of an arbiter's method, with the same arguments.

    gunicorn looks up ``manage_workers`` (once per turn of the main loop), ``reap_workers`` and
    ``kill_worker`` on the instance. A subclass of the arbiter may add parameters and results:
    ``call`` has to accept any further argument. gunicorn 20.1.0 and 23.0.0 reap in a signal
    handler, which may interrupt the main thread anywhere: also in this wrapper.
    """
    method: Callable[..., Any] = getattr(arbiter, name)

    @wraps(method)
    def call_before(*args: Any, **named: Any) -> Any:
        call(*args, **named)
        return method(*args, **named)

    setattr(arbiter, name, call_before)


def after_reap_of(worker: Worker, call: Callable[[], None]) -> None:
    """Arrange a call when gunicorn has reaped a worker, and closes the worker's heartbeat file.

    The call may also run in a forked worker, where gunicorn closes the files of its siblings.
    """
    tmp: Any = worker.tmp
    close = tmp.close

    def close_and_call() -> None:
        tmp.__dict__.pop("close", None)  # otherwise the file and this function are a cycle
        close()
        call()

    tmp.close = close_and_call


def worker_ages(arbiter: Arbiter) -> dict[int, int]:
    """Return the age of each of the arbiter's workers, by pid.

    The arbiter's main thread may change the dictionary at any time: ``list`` copies it atomically.
    """
    return {pid: worker.age for pid, worker in list(arbiter.WORKERS.items())}


def heartbeats(arbiter: Arbiter, pids: Collection[int]) -> dict[int, float]:
    """Return the time of the latest heartbeat of these workers, by pid; see ``Heartbeat``."""
    latest = {}
    for pid in pids:
        with suppress(KeyError, OSError, ValueError):  # the worker was reaped
            latest[pid] = arbiter.WORKERS[pid].tmp.last_update()
    return latest


def heartbeat_age_s(worker: Worker) -> float | None:
    """Return the age of a worker's latest heartbeat, by which gunicorn kills the worker.

    Since gunicorn 21 the heartbeat has the monotonic clock. Before its first heartbeat a worker is
    not killed, and its file has the time of day: None. gunicorn 20.1.0 uses the time of day,
    and a worker's first age counts from its fork. Raises OSError and ValueError if the worker was
    reaped.
    """
    beat_s = worker.tmp.last_update()
    if hasattr(worker.tmp, "spinner"):  # gunicorn 20.1.0
        return time.time() - beat_s
    age_s = time.monotonic() - beat_s
    return age_s if age_s >= 0 else None
