"""A watch over arbiters: how many threads of ours each has, at all times."""

from __future__ import annotations

import threading
from contextlib import suppress

from tests.lab.procfs import our_threads

LOOK_EVERY_S = 0.02


class ThreadWatch:
    """Counts our threads in each arbiter that it was told of, until its context is left."""

    def __init__(self) -> None:
        self.looks = 0
        self._counts: dict[int, list[int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ThreadWatch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def over(self, pid: int) -> None:
        """Watch this arbiter too, from now to its end."""
        self._counts.setdefault(pid, [])

    def latest(self, pid: int) -> int | None:
        """Return the number of threads at the latest look; None before the first."""
        return self._counts[pid][-1] if self._counts[pid] else None

    def counts(self, pid: int) -> list[int]:
        """Return the numbers of threads, each that is not as the one before.

        Without the zeros of an arbiter that does not yet, or no longer, push.
        """
        counts = list(self._counts[pid])
        while counts and counts[0] == 0:
            del counts[0]
        while counts and counts[-1] == 0:
            del counts[-1]
        return counts

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.looks += 1
            for pid, counts in list(self._counts.items()):
                with suppress(OSError):  # it has ended
                    count = len(our_threads(pid))
                    if counts[-1:] != [count]:
                        counts.append(count)
