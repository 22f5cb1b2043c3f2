"""A thread that ends with what it does, and a way to know that nothing of it is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gunicorn_backlog._threads.unpatched import Event, original

_PAUSE_S = 0.00005  # a thread is gone 0.1 ms after it returned


class OneShotThread:
    """Runs once, from the moment it is made; it inherits the signal mask of whoever makes it.

    A thread that has returned still has its C library's locks to take: it is over when the
    operating system has it no more.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        """Begin. Raises RuntimeError if there is no thread to be had."""
        self._returned = Event()
        self._task = ""
        original("_thread", "start_new_thread")(self._run, (run,))

    @property
    def returned(self) -> bool:
        """Whether it did what it was made for."""
        return self._returned.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is over, at most ``timeout_s`` seconds; tell whether it is.

        Without Linux's ``/proc`` only until it returned.
        """
        end_s = time.monotonic() + timeout_s
        if not self._returned.wait(timeout_s):
            return False
        while os.path.exists(self._task):
            if time.monotonic() >= end_s:
                return False
            original("time", "sleep")(_PAUSE_S)
        return True

    def _run(self, run: Callable[[], object]) -> None:
        try:
            self._task = f"/proc/self/task/{original('_thread', 'get_native_id')()}"
            run()
        finally:
            self._returned.set()
