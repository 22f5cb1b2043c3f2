"""A thread that runs one function, and a wait for the end of its OS thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gunicorn_backlog._threads.unpatched import Event, original

_PAUSE_S = 0.00005  # an OS thread ends 0.1 ms after its function
_ASLEEP_S = 0.001  # from then on a thread does not merely wait for Python's lock

# Each sleep increases a number of context switches.
_STATE = (b"State:", b"voluntary_ctxt_switches:", b"nonvoluntary_ctxt_switches:")
_SLEEPS = b"State:\tS"
_STATUS_BYTES = 1 << 14


class OneShotThread:
    """A thread that starts at once and inherits the signal mask of its creator.

    The thread still acquires locks of the C library after its function has returned. Therefore the
    thread is over only when the operating system no longer lists it.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        """Start the thread. Raises RuntimeError at the system's limit of threads."""
        self._returned = Event()
        self._task = ""
        self._asleep: list[bytes] = []  # the state at the end of the latest wait for a sleep
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

        A thread that runs, or waits for a processor or a disk, may hold locks of the C library. One
        that still sleeps as at the end of the previous call has not run: there is no wait. Without
        Linux's ``/proc`` there is none either.
        """
        end_s = time.monotonic() + timeout_s
        asleep: list[bytes] = []  # in which state
        asleep_s = 0.0  # since when
        while True:
            state, now_s = self._state(), time.monotonic()
            if not state or now_s >= end_s or state == self._asleep:
                return
            if not state[0].startswith(_SLEEPS):
                asleep = []
            elif asleep != state:
                asleep, asleep_s = state, now_s
            elif now_s - asleep_s >= _ASLEEP_S:
                self._asleep = state
                return
            original("time", "sleep")(_PAUSE_S)

    def _state(self) -> list[bytes]:
        """Return the thread's state and numbers of context switches, as lines of proc(5).

        Empty: the thread is over. One empty line: it has not begun.
        """
        if not self._task:
            return [] if self.returned else [b""]
        try:
            with open(f"{self._task}/status", "rb", buffering=0) as status:
                lines = status.read(_STATUS_BYTES).splitlines()
            return [line for line in lines if line.startswith(_STATE)]
        except OSError:
            return []

    def _run(self, run: Callable[[], object]) -> None:
        try:
            self._task = f"/proc/self/task/{original('_thread', 'get_native_id')()}"
            run()
        finally:
            self._returned.set()
