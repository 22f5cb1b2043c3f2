"""How long requests waited, counted in buckets: what is written for one, and read of many.

A histogram is an array of BUCKETS counters. The first 32 are of 0, 1, 2 … 31 ms; behind them each
doubling has 16 of equal width, so that the middle of a bucket is at most 3.1 % from any wait in it:

=============  ====================  =========
waited, in ms  buckets               width
=============  ====================  =========
0 … 31         0 … 31                1 ms
32 … 63        32 … 47               2 ms
64 … 127       48 … 63               4 ms
…
524,288 …      256 … 258             32,768 ms
=============  ====================  =========

A wait of more than LONGEST_MS counts as one of LONGEST_MS: ten minutes. One counter more,
NOT_KNOWN, is of the requests whose wait is not known; it is not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LONGEST_MS = 600_000
EXACT_MS = 32  # below this each ms has a bucket
_EXACT_BITS = 5
_MOST = 1 << 32  # requests between two looks


def bucket_of(waited_ms: int) -> int:
    """Return the bucket of a wait, from 0 on."""
    if waited_ms < EXACT_MS:
        return waited_ms
    if waited_ms > LONGEST_MS:
        waited_ms = LONGEST_MS
    shift = waited_ms.bit_length() - _EXACT_BITS
    return (shift << _EXACT_BITS - 1) + (waited_ms >> shift)


BUCKETS = bucket_of(LONGEST_MS) + 1
NOT_KNOWN = BUCKETS


def middle_of(bucket: int) -> float:
    """Return the middle of a bucket, in ms."""
    shift = max(0, (bucket >> _EXACT_BITS - 1) - 1)
    first = (bucket - (shift << _EXACT_BITS - 1)) << shift
    return first + ((1 << shift) - 1) / 2


class WaitsError(Exception):
    """What is counted can't be: a worker ran amok."""


class WaitSummary(NamedTuple):
    """The waits of so many requests, in ms; all 0 if there were none."""

    requests: int
    average_ms: float
    longest_ms: float
    percentile_95_ms: float


def summarize(counters: Sequence[int]) -> WaitSummary:
    """Return what the counters of all buckets come to."""
    requests = sum(counters)
    if not requests:
        return WaitSummary(0, 0, 0, 0)
    found = [(middle_of(bucket), n) for bucket, n in enumerate(counters) if n]
    total_ms = sum(middle_ms * n for middle_ms, n in found)
    rank = math.ceil(0.95 * requests)
    return WaitSummary(requests, total_ms / requests, found[-1][0], _of_rank(found, rank))


class HistogramDelta:
    """Takes the difference of two looks at the counters, which only grow."""

    def __init__(self, counters: Sequence[int]) -> None:
        self._before = counters
        self._any = False

    def update(
        self, counters: Sequence[int], *, measured: bool, from_header: bool = True
    ) -> WaitSummary | None:
        """Return the waits since the last look; None if they can't be told.

        Raises WaitsError if there can't have been so many, or fewer than none; the next look is
        from here on.

        :param measured: whether each request's is.
        :param from_header: whether some may be all the same, by a proxy: from the first one on.
        """
        before, self._before = self._before, counters
        since: Sequence[int] = ()  # as a rule of a server that is idle
        if counters != before:
            since = tuple(now - then for now, then in zip(counters, before, strict=True))
        if since and (min(since) < 0 or max(since) > _MOST):
            raise WaitsError(f"a counter of waits changed by {max(since, key=abs)}")
        waits = summarize(since)
        self._any = from_header and not measured and (self._any or waits.requests > 0)
        return waits if measured or self._any else None


def _of_rank(found: Sequence[tuple[float, int]], rank: int) -> float:
    for middle_ms, n in found:
        rank -= n
        if rank <= 0:
            return middle_ms
    return found[-1][0]
