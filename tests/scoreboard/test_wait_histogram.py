"""wait_histogram: buckets, and the summary of many waits."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.scoreboard.layout import COUNTERS
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    LONGEST_MS,
    CounterDelta,
    CounterError,
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
    """The buckets equal those of the docstring; the scoreboard has a counter for each."""
    assert [bucket_of(ms) for ms in (0, 31, 32, 63, 64, 127)] == [0, 31, 32, 47, 48, 63]
    assert [bucket_of(ms) for ms in (524_288, LONGEST_MS, 10**12)] == [256, 258, 258]
    assert BUCKETS == 259 <= COUNTERS


@given(st.integers(0, LONGEST_MS))
def test_the_middle_is_never_far(waited_ms: int) -> None:
    """A bucket's middle differs by 3.2 % at most; below 32 ms buckets are exact and in order."""
    middle_ms = middle_of(bucket_of(waited_ms))
    assert middle_ms == pytest.approx(waited_ms, rel=ERROR)
    assert bucket_of(int(middle_ms)) == bucket_of(waited_ms)
    assert waited_ms >= 32 or middle_ms == waited_ms
    assert bucket_of(waited_ms) <= bucket_of(waited_ms + 1)


@given(st.lists(st.integers(0, LONGEST_MS), min_size=1, max_size=200))
def test_average_longest_and_percentile(waits_ms: list[int]) -> None:
    """The summary equals that of the waits themselves, within a bucket's error."""
    waits = summarize(counters(waits_ms))
    assert waits.requests == len(waits_ms)
    assert waits.average_ms == pytest.approx(statistics.mean(waits_ms), rel=ERROR)
    assert waits.longest_ms == pytest.approx(max(waits_ms), rel=ERROR)
    nearest_rank = sorted(waits_ms)[-(-95 * len(waits_ms) // 100) - 1]
    assert waits.percentile_95_ms == pytest.approx(nearest_rank, rel=ERROR)


def test_between_two_looks() -> None:
    """Earlier waits are left out; without requests all values are 0, if waits are measurable."""
    counted = CounterDelta(counters([5]))
    assert counted.update(counters([5, 10, 20]), measured=True) == WaitSummary(2, 15, 20, 20)
    assert counted.update(counters([5, 10, 20]), measured=True) == WaitSummary(0, 0, 0, 0)


def test_what_only_a_proxy_tells() -> None:
    """None until the first header; then 0 without requests; None after the end of the header."""
    counted = CounterDelta(counters([]))
    assert counted.update(counters([]), measured=False) is None
    assert counted.update(counters([7]), measured=False) == WaitSummary(1, 7, 7, 7)
    assert counted.update(counters([7]), measured=False) == WaitSummary(0, 0, 0, 0)
    assert counted.update(counters([7]), measured=False, from_header=False) is None
    assert counted.update(counters([7]), measured=False) is None


def test_what_nobody_tells_any_more() -> None:
    """After a reload that ends the measurement the summary is None, not 0."""
    counted = CounterDelta(counters([]))
    assert counted.update(counters([7]), measured=True) == WaitSummary(1, 7, 7, 7)
    assert counted.update(counters([7]), measured=False) is None


@pytest.mark.parametrize("absurd", [2, 2**32 + 5, 2**64 - 1])
def test_what_can_not_be_is_no_wait(absurd: int) -> None:
    """A counter that shrinks or jumps raises CounterError, and is the base from then on."""
    counted = CounterDelta(counters([7, 7, 7, 20]))
    nonsense = counters([20])
    nonsense[bucket_of(7)] = absurd
    with pytest.raises(CounterError, match=r"^a counter changed by -?\d+$"):
        counted.update(nonsense, measured=True)
    later = list(nonsense)
    later[bucket_of(20)] += 2
    assert counted.update(later, measured=True) == WaitSummary(2, 20, 20, 20)


def test_as_many_as_there_can_be() -> None:
    """The rate of a server at its fastest is accepted, also after years without an update."""
    counted = CounterDelta(counters([]))
    many = counters([])
    many[0] = 2**32
    assert counted.update(many, measured=True) == WaitSummary(2**32, 0, 0, 0)


def test_one_counter_with_a_name() -> None:
    """A number that decreases or leaps was overwritten; the next difference is right again."""
    begun = CounterDelta((5,), "the number of requests")
    assert [sum(begun.difference((number,))) for number in (5, 12)] == [0, 7]
    for impossible in (3, 1 << 62):
        with pytest.raises(CounterError, match="the number of requests changed by"):
            begun.difference((impossible,))
    with pytest.raises(CounterError):
        begun.difference((12,))
    assert sum(begun.difference((13,))) == 1
