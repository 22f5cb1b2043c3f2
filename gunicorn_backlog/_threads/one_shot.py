"""A thread that runs one function, and a wait for the end of its OS thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gunicorn_backlog._threads.unpatched import Event, original

_PAUSE_S = 0.00005  # an OS thread ends 0.1 ms after its function
_ASLEEP_S = 0.001  # from then on a thread does not merely wait for Python's lock

_SLEEPS, _OVER = "S", "X"


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

    def wait_until_asleep(self, timeout_s: float) -> None:
        """Wait until the thread sleeps in the kernel, or is over, at most ``timeout_s`` seconds.

        A thread that runs, or waits for a processor or a disk, may hold locks of the C library.
        Without Linux's ``/proc`` there is no wait.
        """
        end_s = time.monotonic() + timeout_s
        asleep_s: float | None = None  # since when
        while True:
            state, now_s = self._state(), time.monotonic()
            if state == _OVER or now_s >= end_s:
                return
            if state != _SLEEPS:
                asleep_s = None
            elif asleep_s is None:
                asleep_s = now_s
            elif now_s - asleep_s >= _ASLEEP_S:
                return
            original("time", "sleep")(_PAUSE_S)

    def _state(self) -> str:
        """Return the thread's state as in proc(5); empty: it has not begun."""
        if not self._task:
            return _OVER if self.returned else ""
        try:
            with open(f"{self._task}/stat", encoding="ascii", errors="replace") as stat:
                return stat.read().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return _OVER

    def _run(self, run: Callable[[], object]) -> None:
        try:
            self._task = f"/proc/self/task/{original('_thread', 'get_native_id')()}"
            run()
        finally:
            self._returned.set()
