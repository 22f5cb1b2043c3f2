"""A simulation of a queue with several servers, as an oracle for the model; services by name."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import NamedTuple

MEAN_MS = 200.0


class Service(NamedTuple):
    """A distribution of service with the mean MEAN_MS, and its squared coefficient of variation."""

    draw_ms: Callable[[random.Random], float]
    variability: float


def _hyperexponential(rng: random.Random) -> float:
    """Return a short service in most cases, and a long one in a few."""
    return rng.expovariate(1 / (0.5 * MEAN_MS if rng.random() < 0.9 else 5.5 * MEAN_MS))


SERVICES = {
    "constant": Service(lambda rng: MEAN_MS, 0.0),
    "exponential": Service(lambda rng: rng.expovariate(1 / MEAN_MS), 1.0),
    "hyperexponential": Service(_hyperexponential, 2 * (0.9 * 0.25 + 0.1 * 30.25) - 1),
}


def simulate(
    service: Service, load: float, servers: int, requests: int, rng: random.Random
) -> list[float]:
    """Return each request's wait in ms: Poisson arrivals, one queue, first come first served."""
    free_at_ms, now_ms, waits = [0.0] * servers, 0.0, []
    for _ in range(requests):
        now_ms += rng.expovariate(load / MEAN_MS)
        begin_ms = max(now_ms, free_at_ms[0])
        heapq.heapreplace(free_at_ms, begin_ms + service.draw_ms(rng))
        waits.append(begin_ms - now_ms)
    return waits
