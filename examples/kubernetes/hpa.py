"""The algorithm of Kubernetes' HorizontalPodAutoscaler: proposals, stabilization, policies.

As in "Horizontal Pod Autoscaling" of the Kubernetes documentation and the controller's source
(pkg/controller/podautoscaler), with the defaults of autoscaling/v2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SYNC_S = 15  # --horizontal-pod-autoscaler-sync-period
LONGEST_PERIOD_S = 1800  # the API's maximum of a policy's period
TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance


def average_value(total: float, target: float, replicas: int) -> int:
    """Return the replicas for an external metric with ``averageValue``: a total per pod."""
    if abs(1 - total / (target * replicas)) <= TOLERANCE:
        return replicas
    return math.ceil(total / target)


def value(metric: float, target: float, replicas: int, ready: int) -> int:
    """Return the replicas for an external metric with ``value``: a factor of the ready pods."""
    if abs(1 - metric / target) <= TOLERANCE:
        return replicas
    return math.ceil(metric / target * ready)


def resource(
    usages: Sequence[float], target: float, replicas: int, unready: int, missing: int = 0
) -> int:
    """Return the replicas for a resource metric with ``averageUtilization``.

    :param usages: of the measured pods, in percent of their request; at least one.
    :param target: percent.
    :param unready: number of pods that are not ready, or too young for a measurement.
    :param missing: number of pods without data from the metrics server.
    """
    ratio = sum(usages) / len(usages) / target
    assumed = []
    if ratio > 1:  # scale up: the controller assumes 0 % for all of these
        assumed = [0.0] * (unready + missing)
    elif ratio < 1:  # scale down: the controller assumes the whole request for missing pods
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
    """The largest change within a period: ``value`` pods, or percent of the pods."""

    type: str
    value: int
    period_s: int


@dataclass(frozen=True)
class Rules:
    """A direction's ``behavior``; the policy with the largest change applies."""

    stabilization_s: int
    policies: tuple[Policy, ...]


UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Rules(300, (Policy("Percent", 100, 15),))


@dataclass
class Autoscaler:
    """The controller's state of one HPA: its recommendations and its changes.

    ``least``, ``most``: ``minReplicas`` and ``maxReplicas``.
    """

    least: int
    most: int
    up: Rules = UP
    down: Rules = DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now_s: float, proposals: Iterable[int], replicas: int) -> int:
        """Return the desired replicas: the largest proposal, limited by ``behavior``."""
        desired = self._stabilized(now_s, max(proposals), replicas)
        if desired > replicas:
            desired = min(desired, self._most_allowed(now_s, replicas))
        elif desired < replicas:
            desired = max(desired, self._least_allowed(now_s, replicas))
        desired = min(self.most, max(self.least, desired))
        if desired != replicas:
            oldest_s = now_s - LONGEST_PERIOD_S
            self._changes = [change for change in self._changes if change[0] > oldest_s]
            self._changes.append((now_s, desired - replicas))
        return desired

    def _stabilized(self, now_s: float, proposed: int, replicas: int) -> int:
        longest_s = max(self.up.stabilization_s, self.down.stabilization_s)
        self._recommended = [each for each in self._recommended if each[0] > now_s - longest_s]
        lowest = min([proposed, *self._since(now_s - self.up.stabilization_s)])
        highest = max([proposed, *self._since(now_s - self.down.stabilization_s)])
        self._recommended.append((now_s, proposed))
        return min(highest, max(lowest, replicas))

    def _since(self, begin_s: float) -> list[int]:
        return [proposed for at_s, proposed in self._recommended if at_s > begin_s]

    def _most_allowed(self, now_s: float, replicas: int) -> int:
        """Return the limit of a scale-up, at least ``replicas``."""
        limits = [replicas]
        for policy in self.up.policies:
            before = replicas - self._changed(now_s - policy.period_s)
            more = policy.value if policy.type == "Pods" else before * policy.value / 100
            limits.append(math.ceil(before + more))
        return max(limits)

    def _least_allowed(self, now_s: float, replicas: int) -> int:
        """Return the limit of a scale-down, at most ``replicas``."""
        limits = [replicas]
        for policy in self.down.policies:
            before = replicas - self._changed(now_s - policy.period_s)
            fewer = policy.value if policy.type == "Pods" else before * policy.value / 100
            limits.append(math.floor(before - fewer))
        return min(limits)

    def _changed(self, begin_s: float) -> int:
        """Return the number of added pods less the removed ones, since ``begin_s``."""
        return sum(by for at_s, by in self._changes if at_s > begin_s)
