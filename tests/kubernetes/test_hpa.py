"""The autoscaler's algorithm against the Kubernetes documentation."""

from __future__ import annotations

import hpa
import pytest
from hpa import Autoscaler, Policy, Rules


def test_the_documentations_example() -> None:
    """200m for a target of 100m doubles the replicas; 50m halves them; within 10 % they stay."""
    assert hpa.resource([200, 200], 100, 2, 0) == 4
    assert hpa.resource([50, 50], 100, 2, 0) == 1
    assert hpa.resource([109, 109], 100, 2, 0) == 2
    assert hpa.resource([91, 91], 100, 2, 0) == 2
    assert hpa.resource([111, 111], 100, 2, 0) == 3  # 2.22, rounded up


def test_pods_that_are_not_ready_dampen_a_scale_up_by_cpu() -> None:
    """Unready pods count as 0 %; the direction never reverses."""
    assert hpa.resource([200, 200], 100, 4, 2) == 4
    assert hpa.resource([300, 300], 100, 4, 2) == 6
    assert hpa.resource([150, 150], 100, 6, 4) == 6
    assert hpa.resource([50, 50], 100, 4, 2) == 1


def test_pods_without_a_metric_dampen_both_ways() -> None:
    """Pods without data count as 0 % for a scale-up, and as their request for a scale-down."""
    assert hpa.resource([200, 200], 100, 4, 0, 2) == 4
    assert hpa.resource([300, 300], 100, 4, 0, 2) == 6
    assert hpa.resource([20, 20], 50, 3, 0, 1) == 3  # 140 of 150: within 10 %
    assert hpa.resource([20, 20], 50, 4, 0, 2) == 4  # 240 of 200: the other direction
    assert hpa.resource([10] * 6, 50, 7, 0, 1) == 4  # 160 of 350
    assert hpa.resource([10] * 6, 50, 8, 1, 1) == 4  # unready pods do not count then
    assert hpa.resource([40, 40, 40], 50, 3, 0, 1) == 3  # 220 of 200 now
    assert hpa.resource([20, 20, 20], 50, 2, 0, 1) == 2  # more pods than replicas: no way up


@pytest.mark.parametrize(
    ("metric", "target", "replicas", "ready", "proposed"),
    [
        (100, 50, 4, 4, 8),
        (52, 50, 4, 4, 4),
        (25, 50, 4, 4, 2),
        (100, 50, 8, 4, 8),
        (0, 50, 4, 4, 0),
    ],
)
def test_value(metric: float, target: float, replicas: int, ready: int, proposed: int) -> None:
    """An external metric's ``value`` is a factor of the ready pods."""
    assert hpa.value(metric, target, replicas, ready) == proposed


@pytest.mark.parametrize(
    ("total", "target", "replicas", "proposed"),
    [(40, 4, 4, 10), (16.5, 4, 4, 4), (0, 4, 4, 0), (18, 4, 4, 5)],
)
def test_average_value(total: float, target: float, replicas: int, proposed: int) -> None:
    """An external metric's ``averageValue`` is a total per pod."""
    assert hpa.average_value(total, target, replicas) == proposed


def test_the_metric_that_asks_for_the_most_counts_within_the_limits() -> None:
    """The largest proposal counts, within minReplicas and maxReplicas."""
    assert Autoscaler(2, 9).sync(0, [3, 5], 4) == 5
    assert Autoscaler(2, 9).sync(0, [0, 1], 2) == 2
    assert Autoscaler(2, 9).sync(0, [50], 8) == 9


def test_a_scale_up_is_limited_by_the_policy_that_allows_more() -> None:
    """By default four pods or 100 % are added in 15 s; then again."""
    scaler = Autoscaler(1, 100)
    assert scaler.sync(0, [50], 2) == 6  # four pods
    assert scaler.sync(10, [50], 6) == 6  # still the same 15 s
    assert scaler.sync(15, [50], 6) == 12  # 100 %
    assert scaler.sync(30, [50], 12) == 24


def test_a_longer_period_holds_longer() -> None:
    """Our example's period is 90 s: earlier changes in the period count."""
    scaler = Autoscaler(1, 100, up=Rules(0, (Policy("Percent", 100, 90),)))
    assert scaler.sync(0, [50], 4) == 8
    assert scaler.sync(75, [50], 8) == 8
    assert scaler.sync(90, [50], 8) == 16


def test_a_limit_never_turns_the_direction() -> None:
    """Pods were removed and added, and only the removal is older than the period.

    Scale-up: 20 pods lost 10 and gained 30. The period then began with 10 pods, which allow 20.
    """
    at_once = Rules(0, hpa.DOWN.policies)
    scaler = Autoscaler(1, 100, up=Rules(0, (Policy("Percent", 100, 90),)), down=at_once)
    assert scaler.sync(0, [10], 20) == 10
    assert scaler.sync(15, [100], 10) == 40
    assert scaler.sync(90, [100], 40) == 40
    scaler = Autoscaler(1, 100, down=Rules(0, (Policy("Pods", 4, 90),)))
    assert scaler.sync(0, [30], 10) == 20
    assert scaler.sync(15, [2], 20) == 6
    assert scaler.sync(90, [2], 6) == 6


def test_a_scale_down_waits_for_five_minutes() -> None:
    """The highest recommendation of 300 s applies; then all surplus pods end."""
    scaler = Autoscaler(1, 100)
    assert scaler.sync(0, [10], 10) == 10
    for now_s in range(15, 300, 15):
        assert scaler.sync(now_s, [3], 10) == 10
    assert scaler.sync(300, [3], 10) == 3


def test_a_policy_for_the_way_down() -> None:
    """Percentages are rounded in favour of removal."""
    scaler = Autoscaler(1, 100, down=Rules(0, (Policy("Percent", 10, 60),)))
    assert scaler.sync(0, [1], 15) == 13
    assert scaler.sync(30, [1], 13) == 13
    assert scaler.sync(60, [1], 13) == 11


def test_a_stabilized_scale_up_takes_the_lowest() -> None:
    """With a window for scale-ups, a short peak is ignored."""
    scaler = Autoscaler(1, 100, up=Rules(60, (Policy("Pods", 10, 15),)))
    assert scaler.sync(0, [4], 4) == 4
    assert scaler.sync(15, [9], 4) == 4
    assert scaler.sync(60, [9], 4) == 9
