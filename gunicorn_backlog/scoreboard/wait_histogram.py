"""A histogram of request waits: its buckets, and the summary of an interval.

A histogram is an array of BUCKETS counters. The first 32 buckets are 0, 1, 2 … 31 ms. From there
each doubling has 16 buckets of equal width. The middle of a bucket differs by at most 3.1 % from
each wait in the bucket.

=============  ====================  =========
waited, in ms  buckets               width
=============  ====================  =========
0 … 31         0 … 31                1 ms
32 … 63        32 … 47               2 ms
64 … 127       48 … 63               4 ms
…
524,288 …      256 … 258             32,768 ms
=============  ====================  =========

A wait longer than LONGEST_MS, ten minutes, counts as LONGEST_MS. One more counter, NOT_KNOWN, is
for requests whose wait is not known; readers ignore this counter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

LONGEST_MS = 600_000
EXACT_MS = 32  # a shorter wait is its own bucket
_EXACT_BITS = 5
_MOST = 1 << 32  # growth of a counter between two updates; only an overwritten one exceeds it


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


class CounterError(Exception):
    """A counter decreased, or grew too much: a worker wrote outside of its slot."""


class WaitSummary(NamedTuple):
    """The waits of ``requests`` requests, in ms; all 0 if there were none."""

    requests: int
    average_ms: float
    longest_ms: float
    percentile_95_ms: float


def summarize(counters: Sequence[int]) -> WaitSummary:
    """Return the summary of a histogram, given the counters of all buckets."""
    requests = sum(counters)
    if not requests:
        return WaitSummary(0, 0, 0, 0)
    waits = [(middle_of(bucket), count) for bucket, count in enumerate(counters) if count]
    total_ms = sum(middle_ms * count for middle_ms, count in waits)
    rank = math.ceil(0.95 * requests)
    return WaitSummary(requests, total_ms / requests, waits[-1][0], _of_rank(waits, rank))


class CounterDelta:
    """The difference of the counters since the previous update."""

    def __init__(self, counters: Sequence[int], counted: str = "a counter") -> None:
        """Start from ``counters``; ``counted`` is the subject of an error's text."""
        self._before = counters
        self._counted = counted
        self._any = False

    def update(
        self, counters: Sequence[int], *, measured: bool, from_header: bool = True
    ) -> WaitSummary | None:
        """Return the waits since the previous update; None if they are not measured.

        Raises CounterError as ``difference``.

        :param measured: the wait of each request is measured.
        :param from_header: if not ``measured``, waits come from proxies' headers. They are returned
            from the first wait on.
        """
        waits = summarize(self.difference(counters))
        self._any = from_header and not measured and (self._any or waits.requests > 0)
        return waits if measured or self._any else None

    def difference(self, counters: Sequence[int]) -> Sequence[int]:
        """Return the counters since the previous call; empty: no counter changed.

        Raises CounterError for an impossible difference; the next call starts from ``counters``.
        """
        before, self._before = self._before, counters
        if counters == before:  # as in most intervals of an idle server
            return ()
        since = tuple(now - then for now, then in zip(counters, before, strict=True))
        if min(since) < 0 or max(since) > _MOST:
            raise CounterError(f"{self._counted} changed by {max(since, key=abs)}")
        return since


def _of_rank(waits: Sequence[tuple[float, int]], rank: int) -> float:
    """Return the wait of the request with that rank, from 1 on."""
    ranks = accumulate(count for _, count in waits)
    return next(
        middle_ms for (middle_ms, _), last in zip(waits, ranks, strict=True) if rank <= last
    )
