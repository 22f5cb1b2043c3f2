"""When a server is drained, on made readings."""

from __future__ import annotations

import pytest

from gunicorn_backlog.cli.drained.quiet import Quiet
from gunicorn_backlog.cli.drained.reading import Reading

QUIET_S = 20.0  # one reading per second


def drained_at(readings: list[Reading], allow: int = 0) -> float | None:
    """Return the time of the first reading at which the server is drained."""
    quiet = Quiet(QUIET_S, allow)
    return next((reading.at_s for reading in readings if quiet.add(reading)), None)


def reading(at_s: float, present: int = 0, begun: int = 0, unknown: str = "") -> Reading:
    """Return a reading with requests in flight."""
    return Reading(at_s, {}, 0, {7: present} if present else {}, begun, (unknown,) * bool(unknown))


def test_an_empty_server() -> None:
    """A server without requests is drained after the quiet period, and not before."""
    assert drained_at([reading(n) for n in range(100)]) == 20


@pytest.mark.parametrize("kind", ["queued", "waiting", "in flight", "unknown"])
def test_each_kind_of_remaining_request(kind: str) -> None:
    """A connection in a queue, one before gthread's threads, a request, an unknown number."""
    last = {
        "queued": reading(0)._replace(queued={"a": 1}),
        "waiting": reading(0)._replace(waiting=1),
        "in flight": reading(0, present=1),
        "unknown": reading(0, unknown="the queue"),
    }[kind]
    until_then = [last._replace(at_s=n) for n in range(31)]
    assert drained_at([*until_then, *[reading(n) for n in range(31, 100)]]) == 51


def test_a_request_between_two_readings() -> None:
    """A short request that no reading sees has begun: the period starts anew."""
    readings = [reading(n, begun=5 if n <= 15 else 6) for n in range(100)]
    assert drained_at(readings) == 36


def test_health_checks() -> None:
    """With one request per period allowed, a server with one each 4 s is drained; not at 0.5 s."""
    rare = [reading(n, present=n % 40 == 9, begun=(n + 31) // 40) for n in range(100)]
    assert drained_at(rare, allow=1) == 20
    assert drained_at(rare[:48]) == 30
    often = [reading(n, begun=n // 5) for n in range(100)]
    assert drained_at(often, allow=1) is None
    assert drained_at(often, allow=4) == 20


def test_a_long_request_is_no_health_check() -> None:
    """A request that is longer than the quiet period is never allowed, beside health checks."""
    readings = [reading(n, present=1 + (n % 30 == 9), begun=n // 30) for n in range(200)]
    assert drained_at(readings, allow=5) is None
    ended = [reading(n, begun=7) for n in range(200, 300)]
    assert drained_at([*readings, *ended], allow=5) == 220


def test_the_number_of_arrivals() -> None:
    """The arrivals are those of the latest quiet period."""
    quiet = Quiet(QUIET_S, 0)
    for n in range(100):
        quiet.add(reading(n, begun=n))
    assert quiet.arrived == 20
