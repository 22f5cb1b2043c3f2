"""The times of samples, and the ends of intervals."""

from __future__ import annotations

import time
from collections.abc import Callable


class Schedule:
    """Evenly spaced samples on a fixed grid: late or long samples do not shift later ones.

    Samples that were due while the process was stopped or starved are skipped.

    :param interval_s: seconds between two pushes.
    :param samples: number of samples per interval.
    """

    def __init__(
        self, interval_s: float, samples: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._samples = samples
        self._period_s = interval_s / samples
        self._clock = clock
        self._began_s = clock()
        self._next = 1

    def wait_s(self) -> float:
        """Return the seconds until the next sample; 0 if the sample is due."""
        return max(0.0, self._began_s + self._next * self._period_s - self._clock())

    def sampled(self) -> bool:
        """Record a sample; return whether the sample was the last of its interval."""
        made = self._next
        missed = int((self._clock() - self._began_s) / self._period_s)
        self._next = max(made, missed) + 1
        return (self._next - 1) // self._samples > (made - 1) // self._samples
