"""The gate between our thread and the arbiter's forks.

A fork copies every lock as it is, and of the threads only the one that forks. While our thread
holds a lock of logging, of stderr or of an allocator, no worker must be born.
"""

from __future__ import annotations

from types import TracebackType

from gunicorn_backlog.unpatched import original

WAIT_S = 0.05  # at the most: a fork that waits for us costs the server a worker's start


class ForkGate:
    """A lock that the thread holds while it works, and the arbiter while it forks."""

    def __init__(self) -> None:
        self._lock = original("_thread", "allocate_lock")()
        self._thread_id = original("_thread", "get_ident")
        self._forker: int | None = None

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def before_fork(self) -> bool:
        """Wait until the thread is between two steps, at most WAIT_S; tell whether it is."""
        passed = bool(self._lock.acquire(timeout=WAIT_S))
        if passed:
            self._forker = self._thread_id()
        return passed

    def after_fork_in_parent(self) -> None:
        """Let the thread go on, if ``before_fork`` of this very thread had stopped it."""
        if self._forker == self._thread_id():
            self._forker = None
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's lock, which nobody may be here to release."""
        self._lock = original("_thread", "allocate_lock")()
        self._forker = None
