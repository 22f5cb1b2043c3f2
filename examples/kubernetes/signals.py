"""An autoscaler's measurements of a fleet, with their delays: metrics server and Datadog."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import hpa
from day import App
from fleet import Fleet, LoopPod, Pod

SCRAPE_S = 15  # metrics-server's --metric-resolution
PUSH_S = 1  # our interval; the Agent keeps the last gauge of a flush
FLUSH_S = 10  # DogStatsD's
ROLLUP_S = 30  # of our queries: rollup(avg, 30)
REFRESH_S = 30  # the Cluster Agent's external_metrics_provider.refresh_period


class Signal(Protocol):
    """A measurement of a fleet each second, and proposals for the replicas."""

    def look(self, now_s: int, fleet: Fleet) -> None:
        """Measure the values that are due at this second."""

    def propose(self, now_s: int, fleet: Fleet) -> list[int]:
        """Return one proposal for each metric with data."""


@dataclass
class Cpu:
    """An HPA's ``averageUtilization`` of the pods' CPU, from the metrics server.

    :param request_cores: the CPU request of a pod.
    :param target: percent of the request.
    """

    app: App
    request_cores: float
    target: float

    def __post_init__(self) -> None:
        self._before: dict[Pod, float] = {}
        self._usages: dict[Pod, float] = {}
        self._there: set[Pod] = set()
        self._known: set[Pod] = set()

    def look(self, now_s: int, fleet: Fleet) -> None:
        """Scrape: a pod has data from its second scrape on, and counts if ready in both."""
        if now_s % SCRAPE_S:
            return
        self._known, self._there = self._there, set(fleet.pods)
        worked_s = {pod: pod.worked_s(now_s) for pod in fleet.ready(now_s)}
        cores = self.app.cores(now_s - 1)
        self._usages = {
            pod: 100 * cores * (worked - self._before[pod]) / SCRAPE_S / self.request_cores
            for pod, worked in worked_s.items()
            if pod in self._before
        }
        self._before = worked_s

    def propose(self, now_s: int, fleet: Fleet) -> list[int]:
        """Return the proposal of the latest scrape."""
        usages = [self._usages[pod] for pod in fleet.pods if pod in self._usages]
        if not usages:
            return []
        missing = sum(pod not in self._known for pod in fleet.pods)
        unready = len(fleet.pods) - len(usages) - missing
        return [hpa.resource(usages, self.target, len(fleet.pods), unready, missing)]


@dataclass
class Ours:
    """``gunicorn.workers.utilization`` and the backlog, through Agent and Cluster Agent.

    :param target: percent, the average of the pods.
    :param backlog: target of waiting requests per pod; None: without this second signal.
    :param refresh_at_s: second of thirty at which the Cluster Agent queries Datadog.
    """

    target: float
    backlog: float | None
    refresh_at_s: int = 15

    def __post_init__(self) -> None:
        self._second: dict[Pod, float] = {}
        self._flush: dict[Pod, float] = {}
        self._busy: dict[int, dict[Pod, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._queue: dict[int, dict[Pod, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._known: tuple[list[float], list[float]] | None = None

    def look(self, now_s: int, fleet: Fleet) -> None:
        """Push, flush and refresh at their times."""
        if now_s % FLUSH_S == FLUSH_S - PUSH_S:
            self._second = {pod: pod.worked_s(now_s) for pod in self._pushing(now_s, fleet)}
        elif now_s % FLUSH_S == 0:
            self._take(now_s, fleet)
        if now_s % REFRESH_S == self.refresh_at_s:
            self._refresh(now_s)

    def propose(self, now_s: int, fleet: Fleet) -> list[int]:
        """Return the proposals for the Cluster Agent's latest values."""
        if self._known is None:
            return []
        busy, queues = self._known
        replicas, ready = len(fleet.pods), len(fleet.ready(now_s))
        proposals = [hpa.value(sum(busy) / len(busy), self.target, replicas, ready)]
        if self.backlog is not None:
            proposals.append(hpa.average_value(sum(queues), self.backlog, replicas))
        return proposals

    def _pushing(self, now_s: int, fleet: Fleet) -> Iterable[Pod]:
        leaving = [pod for pod in fleet.left if pod.gone_s is not None and pod.gone_s > now_s]
        return [*fleet.ready(now_s), *leaving]

    def _take(self, now_s: int, fleet: Fleet) -> None:
        """Flush the utilization of the last second, and the backlog's average of ten seconds."""
        bucket = (now_s - FLUSH_S) // ROLLUP_S
        waited_s = {pod: pod.waited_s(now_s) for pod in self._pushing(now_s, fleet)}
        for pod, waited in waited_s.items():
            if pod in self._second:
                worked_s = pod.worked_s(now_s) - self._second[pod]
                self._busy[bucket][pod].append(100 * worked_s / PUSH_S / fleet.workers)
            self._queue[bucket][pod].append((waited - self._flush.get(pod, 0.0)) / FLUSH_S)
        self._flush = waited_s

    def _refresh(self, now_s: int) -> None:
        """Take a query's last point but one, since the last point may be incomplete."""
        bucket = (now_s - FLUSH_S) // ROLLUP_S - 1
        if bucket not in self._busy:
            return
        self._known = _averages(self._busy[bucket]), _averages(self._queue[bucket])
        for old in [other for other in self._busy if other < bucket]:
            del self._busy[old], self._queue[old]


@dataclass
class InFlight(Ours):
    """``gunicorn.requests.in_flight`` with ``averageValue``, through Agent and Cluster Agent.

    :param target: requests per pod.
    """

    backlog: None = None

    def propose(self, now_s: int, fleet: Fleet) -> list[int]:
        """Return the proposal for the Cluster Agent's latest value."""
        if self._known is None:
            return []
        requests, _ = self._known
        return [hpa.average_value(sum(requests), self.target, len(fleet.pods))]

    def _take(self, now_s: int, fleet: Fleet) -> None:
        bucket = (now_s - FLUSH_S) // ROLLUP_S
        for pod in self._pushing(now_s, fleet):
            if isinstance(pod, LoopPod):
                self._busy[bucket][pod].append(pod.in_flight(now_s))


def _averages(series: dict[Pod, list[float]]) -> list[float]:
    return [sum(values) / len(values) for values in series.values()]
