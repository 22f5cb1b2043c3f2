"""A thread that runs one function, and a wait for the end of its OS thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gunicorn_backlog._threads.unpatched import Event, original

_PAUSE_S = 0.00005  # an OS thread ends 0.1 ms after its function


class OneShotThread:
    """A thread that starts at once and inherits the signal mask of its creator.

    The thread still acquires locks of the C library after its function has returned. Therefore the
    thread is over only when the operating system no longer lists it.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        """Start the thread. Raises RuntimeError at the system's limit of threads."""
        self._returned = Event()
        self._task = ""
        original("_thread", "start_new_thread")(self._run, (run,))

    @property
    def returned(self) -> bool:
        """Whether the function returned or raised."""
        return self._returned.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Return whether the thread is over within ``timeout_s`` seconds.

        Without Linux's ``/proc``, the wait ends when the function has returned.
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
