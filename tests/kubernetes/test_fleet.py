"""The simulation's pods against queueing theory: Erlang C, and Little's law."""

from __future__ import annotations

import math

import erlang
import pytest
from day import App, requests
from fleet import BACKLOG, Fleet, Pod

HOURS = 2
SECONDS = HOURS * 3600


def test_erlang_c_itself() -> None:
    """One server: the share equals the utilization. Two at half: a third. (Textbook values.)"""
    assert erlang.waiting(1, 0.3) == pytest.approx(0.3)
    assert erlang.waiting(2, 1.0) == pytest.approx(1 / 3)
    assert erlang.late(2, 1.0, 2.0) == pytest.approx(math.exp(-2) / 3)


@pytest.mark.parametrize(("utilization", "pods"), [(0.5, 1), (0.7, 1), (0.85, 1), (0.7, 2)])
def test_waits_are_those_of_erlang_c(utilization: float, pods: int) -> None:
    """The share over the objective and the queue's length are right within 10 %.

    Each of two pods is one such queue, because requests go to either pod at random.
    """
    servers, service_s, objective_s = 4, 0.5, 0.25
    app = App("of the test", service_s, 1.0)
    per_pod = utilization * servers / service_s
    day = requests(7, [pods * per_pod] * SECONDS)
    fleet = Fleet(app, day, pods, workers=servers, start_s=0, objective_s=objective_s)
    for second in range(1, SECONDS + 1):
        fleet.serve(second)

    asked = sum(minute.asked for minute in fleet.minutes)
    late = sum(minute.late for minute in fleet.minutes)
    assert asked == len(day)
    offered = per_pod * service_s
    expected = erlang.late(servers, offered, objective_s / service_s)
    assert late / asked == pytest.approx(expected, rel=0.1)
    waited_s = sum(pod.waited_s(SECONDS) for pod in fleet.pods)
    queue = erlang.waiting(servers, offered) * offered / (servers - offered)
    assert waited_s / SECONDS == pytest.approx(pods * queue, rel=0.1)
    worked_s = sum(pod.worked_s(SECONDS) for pod in fleet.pods)
    assert worked_s / SECONDS == pytest.approx(pods * servers * utilization, rel=0.02)


def test_a_pod_step_by_step() -> None:
    """Two workers, three requests: two begin at once, the third after the first has ended."""
    pod = Pod(0.0, 0.0, 2)
    assert pod.take(1.0, 4.0) == 0
    assert pod.take(1.0, 2.0) == 0
    assert pod.take(2.0, 5.0) == 1.0
    assert (pod.waiting(2.5), pod.waited_s(2.5), pod.worked_s(2.5)) == (1, 0.5, 3.0)
    assert (pod.waiting(3.0), pod.waited_s(3.0), pod.worked_s(3.0)) == (0, 1.0, 4.0)
    assert pod.worked_s(9.0) == 11.0
    pod.leave(3.5)
    assert pod.gone_s == 8.0
    assert pod.lived_s(5.0) == 5.0
    assert pod.lived_s(99.0) == 8.0


def test_a_full_queue_drops() -> None:
    """The queue holds one more than gunicorn's backlog, and has room after a begun request."""
    pod = Pod(0.0, 0.0, 1)
    for _ in range(1 + BACKLOG + 1):
        assert pod.take(0.5, 1.0) is not None
    assert pod.waiting(0.5) == BACKLOG + 1
    assert pod.take(0.5, 1.0) is None
    assert pod.take(2.0, 1.0) is not None


def test_pods_come_and_go() -> None:
    """A new pod gets requests when ready; the youngest leaves first, and costs until its end."""
    fleet = Fleet(App("", 1.0, 1.0), [], 2, workers=4, start_s=30, objective_s=1)
    fleet.scale(4, 100)
    assert (len(fleet.pods), len(fleet.ready(129)), len(fleet.ready(130))) == (4, 2, 4)
    fleet.pods[3].take(150, 20)
    fleet.scale(2, 160)
    assert len(fleet.ready(160)) == 2
    assert [pod.gone_s for pod in fleet.left] == [170, 160]
    assert fleet.pod_hours(200) * 3600 == 2 * 200 + 70 + 60


def test_the_day_is_as_the_seed_says() -> None:
    """Equal seeds yield equal days; the number of requests is that of the rates."""
    per_s = [5.0] * 3600
    assert requests(1, per_s) == requests(1, per_s)
    assert requests(1, per_s) != requests(2, per_s)
    assert len(requests(1, per_s)) == pytest.approx(5 * 3600, rel=0.03)
