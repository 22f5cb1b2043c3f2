"""Calls in the thread pools of an asyncio loop: the default executor, and asgiref's executors.

``run_in_executor`` is replaced on the loop's instance. ``asyncio.to_thread``, the loop's look-ups
of names and asgiref's ``sync_to_async`` call this method. A call that an app submits to an executor
directly is not counted, nor is a call in an executor of the app's own.

uvloop hides its default executor. Therefore, at the first use, the loop gets an executor like the
one that it would create then.

``concurrent.futures.thread`` is imported by functions that run in a worker. A reload may import
this module between the handlers before and after a fork, and that module registers a pair of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from inspect import iscoroutinefunction
from threading import get_ident
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.scoreboard.loop_row import PoolState

if TYPE_CHECKING:
    from concurrent.futures import Executor

Function = Callable[..., Any]


class Calls:
    """The calls that run in the threads of some executors; each thread runs one call at a time."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    @property
    def running(self) -> int:
        """Number of calls that run now."""
        return len(self._threads)

    def run(self, function: Function, *args: Any) -> Any:
        """Call the function, in a thread of the executor."""
        thread = get_ident()
        self._threads.add(thread)
        try:
            return function(*args)
        finally:
            self._threads.discard(thread)


class Executors:
    """Counts the calls of one loop in its default executor and in asgiref's executors."""

    def __init__(self, loop: Any) -> None:
        """Replace the loop's methods that use executors."""
        self._loop = loop
        self._default: Executor | None = None  # where the loop hides its own
        self._default_calls = Calls()
        self._asgiref_calls: Calls | None = None  # None: not used yet
        self._set_default, self._run = loop.set_default_executor, loop.run_in_executor
        loop.run_in_executor = self._run_counted
        if not hasattr(loop, "_default_executor"):
            loop.set_default_executor = self._set_default_kept

    def default(self) -> PoolState | None:
        """Return the state of the default executor; None: not used, or not one of threads."""
        executor = getattr(self._loop, "_default_executor", self._default)
        if executor is None:
            return None
        from concurrent.futures import ThreadPoolExecutor

        if not isinstance(executor, ThreadPoolExecutor):
            return None
        working, queued = self._default_calls.running, _queued([executor])
        taken = min(queued, max(0, executor._max_workers - working))  # by threads that are waking
        return PoolState(working + taken, queued - taken, executor._max_workers)

    def asgiref(self) -> PoolState | None:
        """Return the state of asgiref's executors together; None: not used.

        A ``ThreadSensitiveContext``, of which Django opens one per request, has an executor of one
        thread: the number of threads is not fixed.
        """
        if self._asgiref_calls is None:
            return None
        return PoolState(self._asgiref_calls.running, _queued(_asgiref_executors()), None)

    def _set_default_kept(self, executor: Any) -> None:
        self._set_default(executor)
        self._default = executor

    def _run_counted(self, executor: Executor | None, func: Function, *args: Any) -> Any:
        calls = self._calls_in(executor)
        if calls is None or iscoroutinefunction(func):  # asyncio refuses a coroutine function
            return self._run(executor, func, *args)
        return self._run(executor, calls.run, func, *args)

    def _calls_in(self, executor: Executor | None) -> Calls | None:
        """Return the counter for calls in an executor; None: the calls are not counted."""
        if executor is None:
            if not hasattr(self._loop, "_default_executor") and self._default is None:
                from concurrent.futures import ThreadPoolExecutor

                self._set_default_kept(ThreadPoolExecutor())
            return self._default_calls
        if any(executor is known for known in _asgiref_executors_of_this_task()):
            if self._asgiref_calls is None:
                self._asgiref_calls = Calls()
            return self._asgiref_calls
        return None


def _asgiref_executors_of_this_task() -> list[Any]:
    """Return the executors that asgiref may use here; without those of all other requests."""
    sync_to_async = _sync_to_async()
    found = [getattr(sync_to_async, "single_thread_executor", None)]
    with suppress(AttributeError, LookupError, TypeError):  # another asgiref
        context = sync_to_async.thread_sensitive_context.get(None)
        if context is not None:
            found.append(sync_to_async.context_to_thread_executor.get(context))
    return [executor for executor in found if executor is not None]


def _sync_to_async() -> Any:
    return getattr(sys.modules.get("asgiref.sync"), "SyncToAsync", None)


def _asgiref_executors() -> list[Any]:
    """Return all executors that asgiref has made for synchronous calls in this process."""
    sync_to_async = _sync_to_async()
    if sync_to_async is None:
        return []
    by_context = getattr(sync_to_async, "context_to_thread_executor", {})
    single = getattr(sync_to_async, "single_thread_executor", None)
    return [*by_context.values(), *([] if single is None else [single])]


def _queued(executors: Iterable[Any]) -> int:
    queues = [getattr(executor, "_work_queue", None) for executor in executors]
    return sum(queue.qsize() for queue in queues if queue is not None)
