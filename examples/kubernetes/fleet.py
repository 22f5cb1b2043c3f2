"""A fleet of pods, each with its workers and a queue before them, first come, first served.

A request goes to any pod that is ready, as with a Service. When it comes, it is known already when
a worker will take it: so a pod is a heap of the times at which its workers will be free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

from day import App, Request

BACKLOG = 2048  # gunicorn's default; a queue holds one more
END = Request(float("inf"), 0.0, 0.0)  # after the last one


class Pod:
    """Workers, and the requests that wait for them."""

    def __init__(self, created_s: float, ready_s: float, workers: int) -> None:
        self.created_s = created_s
        self.ready_s = ready_s
        self.gone_s: float | None = None
        self._free_s = [ready_s] * workers
        self._starts_s: deque[float] = deque()  # of those that have to wait, in order
        self._given_s = 0.0
        self._waits_s = 0.0

    def take(self, at_s: float, service_s: float) -> float | None:
        """Return how long the request will wait; None if the queue is full and it is dropped."""
        start_s = self._free_s[0]
        if start_s <= at_s:
            start_s = at_s
        else:
            if self.waiting(at_s) > BACKLOG:
                return None
            self._starts_s.append(start_s)
            self._waits_s += start_s - at_s
        heapreplace(self._free_s, start_s + service_s)
        self._given_s += service_s
        return start_s - at_s

    def waiting(self, at_s: float) -> int:
        """Return how many requests wait at this moment, which must not be an earlier one."""
        starts_s = self._starts_s
        while starts_s and starts_s[0] <= at_s:
            starts_s.popleft()
        return len(starts_s)

    def worked_s(self, at_s: float) -> float:
        """Return the workers' time at work up to now, all of them together."""
        return self._given_s - sum(free_s - at_s for free_s in self._free_s if free_s > at_s)

    def waited_s(self, at_s: float) -> float:
        """Return the requests' time in the queue up to now: the integral of its length."""
        waiting = self.waiting(at_s)
        return self._waits_s - (sum(self._starts_s) - waiting * at_s)

    def leave(self, at_s: float) -> None:
        """End as soon as all that was taken is served; nothing more may be given to it."""
        self.gone_s = max(at_s, *self._free_s) if at_s >= self.ready_s else at_s

    def lived_s(self, at_s: float) -> float:
        """Return how long it has been there, from its creation."""
        return (at_s if self.gone_s is None else min(self.gone_s, at_s)) - self.created_s


@dataclass
class Minute:
    """How many requests came in it, and how many of them had to wait too long, or were dropped."""

    asked: int = 0
    late: int = 0


class Fleet:
    """The pods, and the story of their requests minute by minute.

    :param objective_s: no longer than that a request should wait.
    :param start_s: how long a pod takes from its creation until it is ready.
    """

    def __init__(
        self,
        app: App,
        requests: Sequence[Request],
        pods: int,
        *,
        workers: int,
        start_s: float,
        objective_s: float,
    ) -> None:
        self.workers = workers
        self.pods = [Pod(0.0, 0.0, workers) for _ in range(pods)]  # that are meant to stay
        self.left: list[Pod] = []
        self.minutes: list[Minute] = []
        self._app = app
        self._start_s = start_s
        self._objective_s = objective_s
        self._requests = iter(requests)
        self._next = next(self._requests, END)

    def serve(self, second: int) -> None:
        """Let all requests of the next second arrive, the one before ``second``."""
        ready = self.ready(second - 1)
        service_s = self._app.service_at_s(second - 1)
        asked = late = 0
        at_s, work, share = self._next
        while at_s < second:
            wait_s = ready[int(share * len(ready))].take(at_s, work * service_s)
            asked += 1
            if wait_s is None or wait_s > self._objective_s:
                late += 1
            self._next = at_s, work, share = next(self._requests, END)
        if (second - 1) % 60 == 0:
            self.minutes.append(Minute())
        self.minutes[-1].asked += asked
        self.minutes[-1].late += late

    def ready(self, at_s: float) -> list[Pod]:
        """Return the pods that get requests."""
        return [pod for pod in self.pods if pod.ready_s <= at_s]

    def scale(self, replicas: int, at_s: float) -> None:
        """Start pods, or let the youngest leave: those first that are not even ready."""
        while len(self.pods) < replicas:
            self.pods.append(Pod(at_s, at_s + self._start_s, self.workers))
        while len(self.pods) > replicas:
            pod = self.pods.pop()
            pod.leave(at_s)
            self.left.append(pod)

    def pod_hours(self, at_s: float) -> float:
        """Return what there was of pods, those included that started or had still to finish."""
        return sum(pod.lived_s(at_s) for pod in [*self.pods, *self.left]) / 3600
