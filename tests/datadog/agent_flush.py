"""The Agent's aggregation of pushes every ten seconds, by its rules for each type.

Those of ``pkg/aggregator/time_sampler.go`` and ``pkg/metrics/`` of datadog-agent:

* gauge: the last value of the ten seconds;
* count: the sum divided by ten, a rate per second; then 0 for 300 s
  (``dogstatsd_expiry_seconds``);
* histogram: ``.avg``, ``.max``, ``.median``, ``.95percentile``, and ``.count`` as a rate per second
  (the defaults of ``histogram_aggregates`` and ``histogram_percentiles``);
* service check: forwarded unchanged.

Each series gets the Agent's tag ``host``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from agent import Line

FLUSH_S = 10
COUNTER_EXPIRY_S = 300
HOST = "host:lab"


@dataclass(frozen=True)
class Series:
    """A metric with one set of tags: its values by the begin of their ten seconds."""

    metric: str
    tags: frozenset[str]
    points: Mapping[int, float]


@dataclass(frozen=True)
class Status:
    """One result of a service check: 0 is OK, 2 CRITICAL."""

    name: str
    tags: frozenset[str]
    at_s: float
    status: int


@dataclass(frozen=True)
class Received:
    """All data that Datadog received, and the time until which."""

    series: tuple[Series, ...]
    statuses: tuple[Status, ...]
    until_s: float

    @cached_property
    def by_metric(self) -> dict[str, list[Series]]:
        """The series of each metric."""
        found: dict[str, list[Series]] = defaultdict(list)
        for series in self.series:
            found[series.metric].append(series)
        return dict(found)

    @cached_property
    def first_points(self) -> dict[object, dict[tuple[str, ...], int]]:
        """Memory of the evaluator: the first points of each group, by selection."""
        return {}


@dataclass
class _Bucket:
    """The values of one series in ten seconds."""

    values: list[float] = field(default_factory=list)


def flush(pushes: Iterable[tuple[float, Iterable[Line]]], until_s: float) -> Received:
    """Return the Agent's output for lines that arrived at these times, from 0 on.

    Ten seconds that are not over at ``until_s`` are left out. Raises ValueError for other types.
    """
    buckets: dict[tuple[str, str, frozenset[str]], dict[int, _Bucket]] = defaultdict(dict)
    statuses = []
    for at_s, lines in pushes:
        start_s = int(at_s // FLUSH_S) * FLUSH_S
        for line in lines:
            tags = _with_host(line.tags)
            if line.type == "_sc":
                statuses.append(Status(line.name, tags, at_s, int(line.values[0])))
            elif start_s + FLUSH_S <= until_s:
                bucket = buckets[line.name, line.type, tags].setdefault(start_s, _Bucket())
                bucket.values.extend(line.values)
    series = [
        Series(f"{name}{suffix}", tags, points)
        for (name, kind, tags), by_start in buckets.items()
        for suffix, points in _points(kind, by_start, until_s).items()
    ]
    return Received(tuple(series), tuple(statuses), until_s)


@cache
def _with_host(tags: frozenset[str]) -> frozenset[str]:
    return tags | {HOST}


def _points(
    kind: str, by_start: Mapping[int, _Bucket], until_s: float
) -> dict[str, dict[int, float]]:
    """Return the points of one pushed series by the suffix of their name."""
    if kind == "g":
        return {"": {start: bucket.values[-1] for start, bucket in by_start.items()}}
    if kind == "c":
        return {"": _counter(by_start, until_s)}
    if kind == "h":
        made: dict[str, dict[int, float]] = defaultdict(dict)
        for start, bucket in by_start.items():
            for suffix, value in histogram(bucket.values).items():
                made[suffix][start] = value
        return made
    raise ValueError(f"a series of type {kind}: only g, c, h and _sc are known")


def _counter(by_start: Mapping[int, _Bucket], until_s: float) -> dict[int, float]:
    end_s = min(until_s, max(by_start) + FLUSH_S + COUNTER_EXPIRY_S)
    starts = range(min(by_start), math.floor(end_s) - FLUSH_S + 1, FLUSH_S)
    return {start: sum(by_start.get(start, _Bucket()).values) / FLUSH_S for start in starts}


def histogram(values: Iterable[float]) -> dict[str, float]:
    """Return the aggregates of a histogram's values, by the suffix of the name."""
    ordered = sorted(values)
    count = len(ordered)
    return {
        ".avg": sum(ordered) / count,
        ".max": ordered[-1],
        ".median": ordered[(count - 1) // 2],
        ".95percentile": ordered[(95 * count - 1) // 100],
        ".count": count / FLUSH_S,
    }
