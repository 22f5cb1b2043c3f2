"""A lock that keeps our thread and the arbiter's forks apart.

A fork copies every lock in its current state, but only the thread that forks. A lock that our
thread held (of logging, stderr or an allocator) would stay locked in the worker for ever.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from gunicorn_backlog._threads.unpatched import original

WAIT_S = 0.04  # longest wait of a fork, which delays the start of a worker
LOCK_TIMEOUT_S = 1.0  # far longer than a fork takes


class ForkGate:
    """A lock as a context manager for each step of the thread, and as handlers of each fork.

    A signal handler that raises (gunicorn 20's, for a worker that can't boot) may interrupt the
    arbiter between two handlers. Therefore a lock that is not released in time is replaced, and
    each side releases the lock object that it acquired.
    """

    def __init__(self) -> None:
        self._new_lock = original("_thread", "allocate_lock")
        self._thread_id = original("_thread", "get_ident")
        self._lock = self._new_lock()
        self._thread_holds: Any = None
        self._fork_holds: tuple[int, Any] | None = None

    def __enter__(self) -> None:
        lock = self._lock
        if not lock.acquire(timeout=LOCK_TIMEOUT_S):
            lock = self._lock = self._new_lock()
            lock.acquire()
        self._thread_holds = lock

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread_holds.release()

    def before_fork(self) -> bool:
        """Acquire the gate; return False if the thread is still in a step after WAIT_S."""
        lock = self._lock
        if not lock.acquire(timeout=WAIT_S):
            return False
        self._fork_holds = (self._thread_id(), lock)
        return True

    def after_fork_in_parent(self) -> None:
        """Release the gate, if ``before_fork`` acquired it in this thread."""
        if self._fork_holds is not None and self._fork_holds[0] == self._thread_id():
            _, lock = self._fork_holds
            self._fork_holds = None
            lock.release()

    def after_fork_in_child(self) -> None:
        """Replace the parent's lock: the thread that may hold it does not exist here."""
        self._lock = self._new_lock()
        self._fork_holds = None
