"""A day of load from one seed: the requests' times of arrival and service times."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

DAY_S = 86_400
BASE_PER_S = 2.0  # requests per second at 02:00
PEAK_PER_S = 12.0  # and at 14:00
BURSTS = 8
BURST_TIMES = (1.5, 4.0)  # the range of a burst's factor
BURST_S = 600.0
BURST_RAMP_S = 60.0


class Request(NamedTuple):
    """One request.

    ``at_s``: arrival, in seconds of the day. ``work``: service time, as a multiple of the app's
    average. ``pod``: the index of its pod, as a share (0 to 1) of the ready pods.
    """

    at_s: float
    work: float
    pod: float


@dataclass(frozen=True)
class App:
    """The load that a request causes.

    :param service_s: average time that a request occupies a worker; exponentially distributed.
    :param cpu_share: share of this time on a processor.
    :param slow: begin and end, in seconds of the day. Between them a request takes ``slow_times``
        as long, and the same processor time.
    :param awaits_s: time that a request of an event loop awaits something, without the loop.
    :param slow_awaits: begin and end, in seconds of the day. Between them a request awaits
        ``slow_times`` as long.
    """

    name: str
    service_s: float
    cpu_share: float
    slow: tuple[float, float] = (0.0, 0.0)
    slow_times: float = 2.0
    awaits_s: float = 0.0
    slow_awaits: tuple[float, float] = (0.0, 0.0)

    def slowness(self, at_s: float) -> float:
        """Return the factor of a request's service time at this second."""
        begin_s, end_s = self.slow
        return self.slow_times if begin_s <= at_s < end_s else 1.0

    def service_at_s(self, at_s: float) -> float:
        """Return the average service time of a request that arrives at this second."""
        return self.service_s * self.slowness(at_s)

    def awaits_at_s(self, at_s: float) -> float:
        """Return the time that a request awaits something, if it arrives at this second."""
        begin_s, end_s = self.slow_awaits
        return self.awaits_s * (self.slow_times if begin_s <= at_s < end_s else 1.0)

    def cores(self, at_s: float) -> float:
        """Return the processor cores that a busy worker uses."""
        return self.cpu_share / self.slowness(at_s)


class Burst(NamedTuple):
    """A burst: the load from ``begin_s`` on is multiplied by ``times``."""

    begin_s: float
    times: float


def rates(bursts: Sequence[Burst]) -> list[float]:
    """Return the average number of requests in each second of the day."""
    steady = [_steady(second) for second in range(DAY_S)]
    factors = [1.0] * DAY_S
    for burst in bursts:
        begin = int(burst.begin_s)
        for second in range(begin, min(DAY_S, begin + int(BURST_S) + 1)):
            factors[second] = max(factors[second], _factor(second, burst))
    return [rate * factor for rate, factor in zip(steady, factors, strict=True)]


def _steady(second: int) -> float:
    wave = (1 - math.cos(2 * math.pi * (second / DAY_S - 2 / 24))) / 2
    return BASE_PER_S + (PEAK_PER_S - BASE_PER_S) * wave


def _factor(second: int, burst: Burst) -> float:
    """Return a burst's factor of the load, which ramps up, holds, and ramps down."""
    since_s = second - burst.begin_s
    edge_s = min(since_s, BURST_S - since_s)
    return 1.0 + (burst.times - 1.0) * min(1.0, max(0.0, edge_s / BURST_RAMP_S))


def requests(
    seed: int, per_s: Sequence[float] | None = None, *, load: float = 1.0
) -> list[Request]:
    """Return the requests in order of arrival.

    :param per_s: average number of requests in each second; None: a day with bursts, by ``seed``.
    :param load: factor of all averages.
    """
    arrivals, works, pods = (random.Random(f"{seed} {what}") for what in ("at", "for", "pod"))
    if per_s is None:
        per_s = rates(_bursts(arrivals))
    found: list[Request] = []
    at_s = 0.0
    while True:
        at_s += arrivals.expovariate(load * per_s[int(at_s)])
        if at_s >= len(per_s):
            return found
        found.append(Request(at_s, works.expovariate(1.0), pods.random()))


def _bursts(chance: random.Random) -> list[Burst]:
    hours = [chance.uniform(6, 22) for _ in range(BURSTS)]
    return [Burst(hour * 3600, chance.uniform(*BURST_TIMES)) for hour in sorted(hours)]
