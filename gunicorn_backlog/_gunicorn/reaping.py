"""Wrappers of the arbiter's methods that signal and reap workers.

gunicorn looks up ``reap_workers`` and ``kill_worker`` on the instance. gunicorn 20.1.0 and 23.0.0
reap in a signal handler, which may interrupt the main thread anywhere: also in these wrappers.
A subclass of the arbiter may add parameters and results: the wrappers pass these on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn.protocols import Arbiter, Worker


def before_each_reap(arbiter: Arbiter, call: Callable[[], None]) -> None:
    """Arrange a call before the arbiter reaps dead workers."""
    reap_workers: Callable[..., Any] = arbiter.reap_workers

    @wraps(reap_workers)
    def call_and_reap_workers(*args: Any, **named: Any) -> Any:
        call()
        return reap_workers(*args, **named)

    arbiter.reap_workers = call_and_reap_workers  # type: ignore[method-assign]  # on purpose


def before_each_signal(arbiter: Arbiter, call: Callable[[int, int], None]) -> None:
    """Arrange a call with pid and signal before the arbiter sends a signal to a worker."""
    kill_worker: Callable[..., Any] = arbiter.kill_worker

    @wraps(kill_worker)
    def call_and_kill_worker(pid: int, sig: int, *args: Any, **named: Any) -> Any:
        call(pid, sig)
        return kill_worker(pid, sig, *args, **named)

    arbiter.kill_worker = call_and_kill_worker  # type: ignore[method-assign]  # on purpose


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
