"""waits: buckets, and what many waits come to."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.scoreboard.layout import COUNTERS
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    LONGEST_MS,
    HistogramDelta,
    WaitsError,
    WaitSummary,
    bucket_of,
    middle_of,
    summarize,
)

ERROR = 0.032


def counters(waits_ms: list[int]) -> list[int]:
    """Return the counters of these waits."""
    counted = [0] * COUNTERS
    for waited_ms in waits_ms:
        counted[bucket_of(waited_ms)] += 1
    return counted


def test_the_table() -> None:
    """The buckets of the docstring, and no more of them than the scoreboard has counters."""
    assert [bucket_of(ms) for ms in (0, 31, 32, 63, 64, 127)] == [0, 31, 32, 47, 48, 63]
    assert [bucket_of(ms) for ms in (524_288, LONGEST_MS, 10**12)] == [256, 258, 258]
    assert BUCKETS == 259 <= COUNTERS


@given(st.integers(0, LONGEST_MS))
def test_the_middle_is_never_far(waited_ms: int) -> None:
    """At most 3.2 % from the wait; exact below 32 ms; and buckets are in order."""
    middle_ms = middle_of(bucket_of(waited_ms))
    assert middle_ms == pytest.approx(waited_ms, rel=ERROR)
    assert bucket_of(int(middle_ms)) == bucket_of(waited_ms)
    assert waited_ms >= 32 or middle_ms == waited_ms
    assert bucket_of(waited_ms) <= bucket_of(waited_ms + 1)


@given(st.lists(st.integers(0, LONGEST_MS), min_size=1, max_size=200))
def test_average_longest_and_percentile(waits_ms: list[int]) -> None:
    """As computed from the waits themselves, within the error of a bucket."""
    waits = summarize(counters(waits_ms))
    assert waits.requests == len(waits_ms)
    assert waits.average_ms == pytest.approx(statistics.mean(waits_ms), rel=ERROR)
    assert waits.longest_ms == pytest.approx(max(waits_ms), rel=ERROR)
    nearest_rank = sorted(waits_ms)[-(-95 * len(waits_ms) // 100) - 1]
    assert waits.percentile_95_ms == pytest.approx(nearest_rank, rel=ERROR)


def test_between_two_looks() -> None:
    """What was there before is left out; without requests all is 0, if each could be told."""
    counted = HistogramDelta(counters([5]))
    assert counted.update(counters([5, 10, 20]), measured=True) == WaitSummary(2, 15, 20, 20)
    assert counted.update(counters([5, 10, 20]), measured=True) == WaitSummary(0, 0, 0, 0)


def test_what_only_a_proxy_tells() -> None:
    """None until the first; from then on 0 says that there was none."""
    counted = HistogramDelta(counters([]))
    assert counted.update(counters([]), measured=False) is None
    assert counted.update(counters([7]), measured=False) == WaitSummary(1, 7, 7, 7)
    assert counted.update(counters([7]), measured=False) == WaitSummary(0, 0, 0, 0)
    assert counted.update(counters([7]), measured=False, from_header=False) is None
    assert counted.update(counters([7]), measured=False) is None


def test_what_nobody_tells_any_more() -> None:
    """After a reload that leaves no way: not 0, for what the kernel told is no proxy's word."""
    counted = HistogramDelta(counters([]))
    assert counted.update(counters([7]), measured=True) == WaitSummary(1, 7, 7, 7)
    assert counted.update(counters([7]), measured=False) is None


@pytest.mark.parametrize("absurd", [2, 2**32 + 5, 2**64 - 1])
def test_what_can_not_be_is_no_wait(absurd: int) -> None:
    """Fewer than at the last look, or more than there are requests: said, and then from here on."""
    counted = HistogramDelta(counters([7, 7, 7, 20]))
    nonsense = counters([20])
    nonsense[bucket_of(7)] = absurd
    with pytest.raises(WaitsError, match=r"^a counter of waits changed by -?\d+$"):
        counted.update(nonsense, measured=True)
    later = list(nonsense)
    later[bucket_of(20)] += 2
    assert counted.update(later, measured=True) == WaitSummary(2, 20, 20, 20)


def test_as_many_as_there_can_be() -> None:
    """A server at its fastest is believed, however long nobody looked."""
    counted = HistogramDelta(counters([]))
    many = counters([])
    many[0] = 2**32
    assert counted.update(many, measured=True) == WaitSummary(2**32, 0, 0, 0)
