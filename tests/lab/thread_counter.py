"""Counts our threads in arbiters, fifty times a second."""

from __future__ import annotations

import threading
from contextlib import suppress

from tests.lab.procfs import our_threads

PERIOD_S = 0.02


class ThreadCounter:
    """Counts our threads in each added arbiter, ``samples`` times until the context ends."""

    def __init__(self) -> None:
        self.samples = 0
        self._counts: dict[int, list[int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> ThreadCounter:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def add(self, pid: int) -> None:
        """Count the threads of this arbiter from now on."""
        self._counts.setdefault(pid, [])

    def latest(self, pid: int) -> int | None:
        """Return the latest number of threads; None before the first sample."""
        return self._counts[pid][-1] if self._counts[pid] else None

    def counts(self, pid: int) -> list[int]:
        """Return the numbers of threads, without repetitions.

        Zeros at the beginning and the end are left out: the arbiter does not push yet or any more.
        """
        counts = list(self._counts[pid])
        while counts and counts[0] == 0:
            del counts[0]
        while counts and counts[-1] == 0:
            del counts[-1]
        return counts

    def _count(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.samples += 1
            for pid, counts in list(self._counts.items()):
                with suppress(OSError):  # the arbiter has ended
                    count = len(our_threads(pid))
                    if counts[-1:] != [count]:
                        counts.append(count)
