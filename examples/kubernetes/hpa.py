"""The algorithm of Kubernetes' HorizontalPodAutoscaler: proposals, stabilization, policies.

As in "Horizontal Pod Autoscaling" of the Kubernetes documentation and the controller's source
(pkg/controller/podautoscaler), with the defaults of autoscaling/v2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SYNC_S = 15  # --horizontal-pod-autoscaler-sync-period
LONGEST_PERIOD_S = 1800  # that a policy may have
TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance


def average_value(total: float, target: float, replicas: int) -> int:
    """Propose replicas for an external metric with ``averageValue``: a total, shared by all."""
    if abs(1 - total / (target * replicas)) <= TOLERANCE:
        return replicas
    return math.ceil(total / target)


def value(metric: float, target: float, replicas: int, ready: int) -> int:
    """Propose replicas for an external metric with ``value``: as many times those ready."""
    if abs(1 - metric / target) <= TOLERANCE:
        return replicas
    return math.ceil(metric / target * ready)


def resource(
    usages: Sequence[float], target: float, replicas: int, unready: int, missing: int = 0
) -> int:
    """Propose replicas for a resource metric with ``averageUtilization``.

    :param usages: of the pods that are measured, in percent of what they request; at least one.
    :param unready: how many are not ready, or not for long enough to be measured.
    :param missing: how many the metrics server does not know yet.
    """
    ratio = sum(usages) / len(usages) / target
    assumed = []
    if ratio > 1:  # to scale up, all those are taken to use nothing
        assumed = [0.0] * (unready + missing)
    elif ratio < 1:  # to scale down, what is missing is taken to use all that it requests
        assumed = [max(100.0, target)] * missing
    if not assumed:
        return replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(usages))
    counted = [*usages, *assumed]
    rebalanced = sum(counted) / len(counted) / target
    if abs(1 - rebalanced) <= TOLERANCE or (rebalanced > 1) != (ratio > 1):
        return replicas
    proposed = math.ceil(rebalanced * len(counted))
    return max(proposed, replicas) if ratio > 1 else min(proposed, replicas)


@dataclass(frozen=True)
class Policy:
    """How many pods, or percent of them, may come or go within a period."""

    type: str
    value: int
    period_s: int


@dataclass(frozen=True)
class Rules:
    """A direction's ``behavior``; of its policies the one counts that allows the most."""

    stabilization_s: int
    policies: tuple[Policy, ...]


UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Rules(300, (Policy("Percent", 100, 15),))


@dataclass
class Autoscaler:
    """What the controller remembers of one HPA: what it recommended, and what it did."""

    least: int
    most: int
    up: Rules = UP
    down: Rules = DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now_s: float, proposals: Iterable[int], replicas: int) -> int:
        """Return how many replicas there shall be: the most that any metric proposes, tamed."""
        desired = self._stabilized(now_s, max(proposals), replicas)
        if desired > replicas:
            desired = min(desired, self._most_allowed(now_s, replicas))
        elif desired < replicas:
            desired = max(desired, self._least_allowed(now_s, replicas))
        desired = min(self.most, max(self.least, desired))
        if desired != replicas:
            self._changes = [it for it in self._changes if it[0] > now_s - LONGEST_PERIOD_S]
            self._changes.append((now_s, desired - replicas))
        return desired

    def _stabilized(self, now_s: float, proposed: int, replicas: int) -> int:
        longest_s = max(self.up.stabilization_s, self.down.stabilization_s)
        self._recommended = [it for it in self._recommended if it[0] > now_s - longest_s]
        lowest = min([proposed, *self._since(now_s - self.up.stabilization_s)])
        highest = max([proposed, *self._since(now_s - self.down.stabilization_s)])
        self._recommended.append((now_s, proposed))
        return min(highest, max(lowest, replicas))

    def _since(self, begin_s: float) -> list[int]:
        return [proposed for at_s, proposed in self._recommended if at_s > begin_s]

    def _most_allowed(self, now_s: float, replicas: int) -> int:
        """Return the limit of a scale-up; never fewer than there are, for it is none then."""
        limits = [replicas]
        for policy in self.up.policies:
            before = replicas - self._changed(now_s - policy.period_s)
            more = policy.value if policy.type == "Pods" else before * policy.value / 100
            limits.append(math.ceil(before + more))
        return max(limits)

    def _least_allowed(self, now_s: float, replicas: int) -> int:
        """Return the limit of a scale-down; never more than there are."""
        limits = [replicas]
        for policy in self.down.policies:
            before = replicas - self._changed(now_s - policy.period_s)
            fewer = policy.value if policy.type == "Pods" else before * policy.value / 100
            limits.append(math.floor(before - fewer))
        return min(limits)

    def _changed(self, begin_s: float) -> int:
        """Return how many pods came, less those that went, since then."""
        return sum(by for at_s, by in self._changes if at_s > begin_s)
