"""A fleet of pods, each with workers and one queue in order of arrival.

A request goes to a random ready pod, as with a Service. The arrival of a request determines the
time when a worker takes it: a pod is a heap of the times at which its workers will be free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace

from day import App, Request

BACKLOG = 2048  # gunicorn's default; a queue holds one more
END = Request(float("inf"), 0.0, 0.0)  # follows the last request


class Pod:
    """Workers and their common queue.

    ``created_s``, ``ready_s``, ``gone_s``: in seconds of the day; ``gone_s`` is None until
    ``leave``.
    """

    def __init__(self, created_s: float, ready_s: float, workers: int) -> None:
        self.created_s = created_s
        self.ready_s = ready_s
        self.gone_s: float | None = None
        self._free_s = [ready_s] * workers
        self._starts_s: deque[float] = deque()  # of waiting requests, in order
        self._given_s = 0.0
        self._waits_s = 0.0

    def take(self, at_s: float, service_s: float) -> float | None:
        """Add a request, and return its wait in seconds; None if the full queue drops it."""
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

    def give(self, at_s: float, service_s: float, draw: float, awaits_s: float) -> float | None:
        """Take a request of the fleet. ``draw``, ``awaits_s``: used by event loops only."""
        return self.take(at_s, service_s)

    def waiting(self, at_s: float) -> int:
        """Return the number of waiting requests. ``at_s`` must not decrease between calls."""
        starts_s = self._starts_s
        while starts_s and starts_s[0] <= at_s:
            starts_s.popleft()
        return len(starts_s)

    def worked_s(self, at_s: float) -> float:
        """Return the busy time of all workers up to ``at_s``, in seconds."""
        return self._given_s - sum(free_s - at_s for free_s in self._free_s if free_s > at_s)

    def waited_s(self, at_s: float) -> float:
        """Return the waits of all requests up to ``at_s``: the integral of the queue's length."""
        waiting = self.waiting(at_s)
        return self._waits_s - (sum(self._starts_s) - waiting * at_s)

    def leave(self, at_s: float) -> None:
        """End the pod after its last request. The caller adds no further requests."""
        self.gone_s = max(at_s, *self._free_s) if at_s >= self.ready_s else at_s

    def lived_s(self, at_s: float) -> float:
        """Return the seconds from the pod's creation until ``at_s`` or its end."""
        return (at_s if self.gone_s is None else min(self.gone_s, at_s)) - self.created_s


class LoopPod(Pod):
    """Event loops with a queue each: a loop accepts all its requests at once, and drops none.

    A request occupies its loop, then awaits something else.
    """

    def __init__(self, created_s: float, ready_s: float, workers: int) -> None:
        super().__init__(created_s, ready_s, workers)
        self._ends_s: list[float] = []  # of requests in flight, a heap

    def give(self, at_s: float, service_s: float, draw: float, awaits_s: float) -> float:
        """Add a request to a random loop, and return its wait in seconds."""
        loop = int(draw * len(self._free_s))
        start_s = max(at_s, self._free_s[loop])
        self._free_s[loop] = start_s + service_s
        self._given_s += service_s
        heappush(self._ends_s, start_s + service_s + awaits_s)
        return start_s - at_s

    def in_flight(self, at_s: float) -> int:
        """Return the number of requests. ``at_s`` must not decrease between calls."""
        while self._ends_s and self._ends_s[0] <= at_s:
            heappop(self._ends_s)
        return len(self._ends_s)


@dataclass
class Minute:
    """The requests of a minute: ``asked``: all; ``late``: over the objective, or dropped."""

    asked: int = 0
    late: int = 0


class Fleet:
    """The pods, and counts of their requests by minute.

    :param objective_s: longest wait that is not late.
    :param start_s: seconds from a pod's creation until the pod is ready.
    :param kind: class of the pods.
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
        kind: type[Pod] = Pod,
    ) -> None:
        self.workers = workers
        self.pods = [kind(0.0, 0.0, workers) for _ in range(pods)]  # without those in ``left``
        self._kind = kind
        self.left: list[Pod] = []
        self.minutes: list[Minute] = []
        self._app = app
        self._start_s = start_s
        self._objective_s = objective_s
        self._requests = iter(requests)
        self._next = next(self._requests, END)

    def serve(self, second: int) -> None:
        """Add all requests of the second that ends at ``second``."""
        ready = self.ready(second - 1)
        service_s, awaits_s = (
            self._app.service_at_s(second - 1),
            self._app.awaits_at_s(second - 1),
        )
        asked = late = 0
        at_s, work, share = self._next
        while at_s < second:
            place = share * len(ready)
            pod = ready[int(place)]
            wait_s = pod.give(at_s, work * service_s, place % 1, awaits_s)
            asked += 1
            if wait_s is None or wait_s > self._objective_s:
                late += 1
            self._next = at_s, work, share = next(self._requests, END)
        if (second - 1) % 60 == 0:
            self.minutes.append(Minute())
        self.minutes[-1].asked += asked
        self.minutes[-1].late += late

    def ready(self, at_s: float) -> list[Pod]:
        """Return the pods that receive requests."""
        return [pod for pod in self.pods if pod.ready_s <= at_s]

    def scale(self, replicas: int, at_s: float) -> None:
        """Start pods, or end the youngest pods, which may not be ready yet."""
        while len(self.pods) < replicas:
            self.pods.append(self._kind(at_s, at_s + self._start_s, self.workers))
        while len(self.pods) > replicas:
            pod = self.pods.pop()
            pod.leave(at_s)
            self.left.append(pod)

    def pod_hours(self, at_s: float) -> float:
        """Return the pod-hours up to ``at_s``, including starting and ending pods."""
        return sum(pod.lived_s(at_s) for pod in [*self.pods, *self.left]) / 3600
