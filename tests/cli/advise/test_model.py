"""The queueing model against known values, and against a simulation."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from gunicorn_backlog.cli.advise.model import (
    Goal,
    Work,
    mean_wait_ms,
    needed,
    probability_of_wait,
    share_longer,
    variability,
)
from tests.cli.advise.queueing import MEAN_MS, SERVICES, simulate

LOADS = (0.5, 2.0, 6.0, 15.0)
GOAL = Goal(wait_ms=100, share=0.05)


@pytest.mark.parametrize(
    ("servers", "load", "expected"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 8.0, 0.4092), (3, 2.0, 4 / 9), (100, 90, 0.2171)],
)
def test_erlangs_c(servers: int, load: float, expected: float) -> None:
    """The formula has the values of textbooks: 1 server, 2 servers, and tables."""
    assert probability_of_wait(servers, load) == pytest.approx(expected, abs=1e-3)
    assert probability_of_wait(servers, servers) == 1


def test_against_its_sum() -> None:
    """The recursion equals the definition by factorials."""
    for servers in (1, 4, 20, 60):
        for busy in (0.1, 0.5, 0.9, 0.99):
            load = servers * busy
            last = load**servers / math.factorial(servers) / (1 - busy)
            total = sum(load**k / math.factorial(k) for k in range(servers)) + last
            assert probability_of_wait(servers, load) == pytest.approx(last / total)
    assert 0 < probability_of_wait(5000, 4900) < 1


def test_the_mean_wait_of_one_server() -> None:
    """With one server the mean wait is that of Pollaczek and Khinchine, which is exact."""
    for spread in (0.0, 1.0, 5.5):
        for load in (0.2, 0.8):
            exact = load / (1 - load) * (1 + spread) / 2 * 50
            assert mean_wait_ms(1, Work(load, 50, spread)) == pytest.approx(exact)
    assert mean_wait_ms(2, Work(2.0, 50, 1)) == math.inf
    assert share_longer(2, Work(2.0, 50, 1), 10) == 1
    assert share_longer(2, Work(0.0, 50, 1), 10) == 0


@pytest.mark.parametrize(("servers", "load"), [(128, 0.1), (256, 0.5), (5000, 10), (3, 1e-200)])
def test_many_servers_and_a_small_load(servers: int, load: float) -> None:
    """Erlang's C is below the smallest float: no request waits."""
    assert probability_of_wait(servers, load) == 0
    assert share_longer(servers, Work(load, 50, 1), 100) == 0
    assert needed(Work(load, 50, 1), GOAL) <= 15


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("name", SERVICES)
def test_against_a_simulation(name: str, load: float) -> None:
    """The simulated share is below the limit at N, and above it at N - 1, or N is off by one."""
    service = SERVICES[name]
    servers = needed(Work(load, MEAN_MS, service.variability), GOAL)
    shares = {
        number: longer(name, load, number)
        for number in range(max(1, servers - 2), servers + 2)
        if number > load
    }
    enough = min((n for n, share in shares.items() if share <= GOAL.share), default=servers + 2)
    assert abs(enough - servers) <= 1, shares


def longer(name: str, load: float, servers: int) -> float:
    """Return the simulated share of the requests that wait too long."""
    waits = simulate(SERVICES[name], load, servers, 12_000, random.Random(f"{name} {load}"))
    return statistics.mean(wait_ms > GOAL.wait_ms for wait_ms in waits)


@pytest.mark.parametrize("name", SERVICES)
def test_the_variability_from_ages(name: str) -> None:
    """The mean age of requests at random times gives the variability of their service."""
    service, rng = SERVICES[name], random.Random(name)
    spans = [service.draw_ms(rng) for _ in range(40_000)]
    assert statistics.mean(spans) == pytest.approx(MEAN_MS, rel=0.05)
    seen = rng.choices(spans, weights=spans, k=40_000)  # a random time meets long ones more often
    age_ms = statistics.mean(rng.uniform(0, span_ms) for span_ms in seen)
    assert variability(age_ms, MEAN_MS) == pytest.approx(service.variability, rel=0.15, abs=0.03)


def test_more_is_needed_for_more() -> None:
    """The number grows with load, variability, and a shorter wait; it can do the work."""
    base = Work(4.0, 100, 1.0)
    assert needed(base, GOAL) == 6
    assert needed(base.times(2), GOAL) > needed(base, GOAL) > 4
    assert needed(base._replace(variability=5), GOAL) > needed(base, GOAL)
    assert needed(base, Goal(10, 0.05)) > needed(base, Goal(500, 0.05)) >= 5
    assert needed(Work(0.0, 0.0, 0.0), GOAL) == 1
