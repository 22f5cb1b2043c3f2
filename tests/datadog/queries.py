"""Checks of queries against the catalog: metrics, tags, and aggregations by type.

check(parse("avg(last_5m):max:gunicorn.backlog.max{*} by {app,listener} > 0"))
"""

from __future__ import annotations

from gunicorn_backlog.metrics.catalog import CATALOG, Metric
from tests.datadog.grammar import SCOPE_ITEM, parse
from tests.datadog.query import CheckQuery, MetricQuery, Query, QueryError, Selection

__all__ = ["Query", "QueryError", "check", "metric_of", "parse"]

HISTOGRAM_SUFFIXES = ("avg", "max", "median", "95percentile", "count")  # the Agent's defaults

# Every series has the first two; the others come from DD_ENV and similar, or from the Agent.
COMMON_KEYS = frozenset({"app", "bind", "env", "service", "version", "host"})
KUBERNETES_KEYS = frozenset({"kube_cluster_name", "kube_deployment", "kube_namespace", "pod_name"})
_METRICS = {metric.name: metric for metric in CATALOG}


def check(query: Query) -> None:
    """Check that each metric and tag of a query is sent, and fits the aggregation.

    Raises QueryError.
    """
    if isinstance(query, CheckQuery):
        _check_check(query)
        return
    for selection in query.selections():
        _check_selection(selection)
    if not any(query.selections()):
        raise QueryError(f"{query}: no metric in it")
    if len({frozenset(selection.by) for selection in query.selections()}) > 1:
        raise QueryError(f"{query}: both sides are to be grouped by the same tags")
    _check_sum_over_time(query)


def metric_of(name: str) -> tuple[Metric, str]:
    """Return a metric of the catalog, and a histogram's suffix or "". Raises QueryError."""
    metric = _METRICS.get(name)
    stem, _, suffix = name.rpartition(".")
    if metric is None:
        metric = _METRICS.get(stem)
        if metric is None:
            raise QueryError(f"{name}: not in the catalog")
        if metric.type != "histogram":
            raise QueryError(f"{name}: {stem} is a {metric.type}, only a histogram has a .{suffix}")
        if suffix not in HISTOGRAM_SUFFIXES:
            raise QueryError(f"{name}: the Agent makes {', '.join(HISTOGRAM_SUFFIXES)} of it")
        return metric, suffix
    if metric.type == "histogram":
        suffixes = ", ".join(f".{suffix}" for suffix in HISTOGRAM_SUFFIXES)
        raise QueryError(f"{name}: a histogram has no series of that name, only {suffixes}")
    return metric, ""


def _check_selection(selection: Selection) -> None:
    metric, suffix = metric_of(selection.metric)
    if metric.type == "service_check":
        raise QueryError(f"{selection}: {metric.name} is a service check, not a metric")
    for item in selection.scope:
        _check_tag(metric, item, str(selection))
    for key in selection.by:
        _check_key(metric, key, str(selection))
    counts = metric.type == "count" or suffix == "count"
    names = [call.name for call in selection.calls]
    if counts != bool({"as_count", "as_rate"} & {*names}):
        expected = "needs" if counts else "has no"
        raise QueryError(f"{selection}: a {metric.type} {expected} as_count() or as_rate()")
    if selection.aggregator == "sum" and _is_a_share(metric, suffix):
        raise QueryError(f"{selection}: a sum of {metric.unit}s over servers says nothing")


def _is_a_share(metric: Metric, suffix: str) -> bool:
    """Return whether a metric is a ratio or a statistic, which can't be added up."""
    return metric.unit in ("percent", "millisecond") or suffix in ("median", "95percentile")


def _check_sum_over_time(query: MetricQuery) -> None:
    """Refuse sums over a window except of counts: a gauge's sum depends on the flushes."""
    if query.window is None or query.window.aggregator != "sum":
        return
    for selection in query.selections():
        if "as_count" not in [call.name for call in selection.calls]:
            raise QueryError(f"{query}: sum(last_{query.window.lasts}) goes with as_count()")


def _check_check(query: CheckQuery) -> None:
    metric = _METRICS.get(query.name)
    if metric is None or metric.type != "service_check":
        raise QueryError(f"{query}: {query.name} is no service check of the catalog")
    for tag in query.over:
        _check_tag(metric, tag, str(query))
    for key in query.by:
        _check_key(metric, key, str(query))


def _check_tag(metric: Metric, item: str, where: str) -> None:
    matched = SCOPE_ITEM.fullmatch(item)
    assert matched is not None, item
    variable, key, _, left_out = matched.groups()
    _check_key(metric, variable or key or left_out, where)
    allowed = [tag for tag in metric.tags if tag.startswith(f"{key or left_out}:")]
    if allowed and item.removeprefix("!") not in allowed and "*" not in item:
        raise QueryError(f"{where}: {item} is never sent, only {', '.join(allowed)}")


def _check_key(metric: Metric, key: str, where: str) -> None:
    own = {tag.partition(":")[0] for tag in metric.tags}
    if key not in own | COMMON_KEYS | KUBERNETES_KEYS:
        raise QueryError(f"{where}: {metric.name} has no tag {key}")
