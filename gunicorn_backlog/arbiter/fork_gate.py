"""The gate between our thread and the arbiter's forks.

A fork copies every lock as it is, and of the threads only the one that forks. While our thread
holds a lock of logging, of stderr or of an allocator, no worker must be born.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from gunicorn_backlog._threads.unpatched import original

WAIT_S = 0.04  # at the most: a fork that waits for us costs the server a worker's start
LOCK_TIMEOUT_S = 1.0  # far longer than a fork takes


class ForkGate:
    """A lock that the thread holds while it works, and the arbiter while it forks.

    A signal handler that raises (gunicorn 20's, for a worker that can't boot) may break off what
    the arbiter does here. So nothing is taken for granted: a lock that is not given back in time
    is replaced, and each side gives back the very lock that it took.
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
        """Wait until the thread is between two steps, at most WAIT_S; tell whether it is."""
        lock = self._lock
        if not lock.acquire(timeout=WAIT_S):
            return False
        self._fork_holds = (self._thread_id(), lock)
        return True

    def after_fork_in_parent(self) -> None:
        """Let the thread go on, if ``before_fork`` of this very thread had stopped it."""
        if self._fork_holds is not None and self._fork_holds[0] == self._thread_id():
            _, lock = self._fork_holds
            self._fork_holds = None
            lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's lock, which nobody may be here to release."""
        self._lock = self._new_lock()
        self._fork_holds = None
