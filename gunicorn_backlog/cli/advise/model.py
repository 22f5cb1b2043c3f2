"""The queueing model: servers of one queue, Poisson arrivals, any distribution of service (M/G/n).

Erlang's formula C gives the probability of a wait. The mean wait is that of Allen and Cunneen
("Probability, Statistics and Queueing Theory", 1978) with Poisson arrivals:

    Wq = (1 + c²) / 2 · C · S / (n - a)

with the mean service S, its squared coefficient of variation c², the load a = λS in Erlang and n
servers. Waits are taken as exponential beyond 0: P(wait > t) = C · exp(-C · t / Wq). With
exponential service (c² = 1) both are exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

MOST_SERVERS = 100_000


class Work(NamedTuple):
    """The work that arrives.

    load: in Erlang, the mean number of busy servers. service_ms: the mean service of a request.
    variability: its squared coefficient of variation: 0 constant, 1 exponential.
    """

    load: float
    service_ms: float
    variability: float

    def times(self, factor: float) -> Work:
        """Return the work of ``factor`` times as many requests."""
        return self._replace(load=self.load * factor)


class Goal(NamedTuple):
    """At most ``share`` (0 to 1) of the requests wait longer than ``wait_ms``."""

    wait_ms: float
    share: float


def probability_of_wait(servers: int, load: float) -> float:
    """Return Erlang's C: the probability that a request finds all servers busy."""
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recursion, which does not overflow
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def mean_wait_ms(servers: int, work: Work) -> float:
    """Return the mean wait of all requests; infinite if the servers can't do the work."""
    if work.load >= servers:
        return math.inf
    waits = probability_of_wait(servers, work.load)
    return (1 + work.variability) / 2 * waits * work.service_ms / (servers - work.load)


def share_longer(servers: int, work: Work, wait_ms: float) -> float:
    """Return the share of the requests that wait longer."""
    if work.load >= servers:
        return 1.0
    waits, mean_ms = probability_of_wait(servers, work.load), mean_wait_ms(servers, work)
    if not mean_ms:  # no load, or so many servers that Erlang's C is below the smallest float
        return 0.0
    return waits * math.exp(-waits * wait_ms / mean_ms)


def needed(work: Work, goal: Goal) -> int:
    """Return the smallest number of servers that reaches the goal."""
    servers = math.floor(work.load) + 1
    while share_longer(servers, work, goal.wait_ms) > goal.share and servers < MOST_SERVERS:
        servers += 1
    return servers


def variability(mean_age_ms: float, service_ms: float) -> float:
    """Return the squared coefficient of variation of the service.

    A request in flight at a random time has the mean age E[S²] / 2E[S] (renewal theory): long
    requests are seen more often.
    """
    return max(0.0, 2 * mean_age_ms / service_ms - 1)
