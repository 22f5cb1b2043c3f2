"""Write ``metadata.csv``, in the columns of Datadog's integrations, from the metric catalog.

python examples/datadog/write_metadata.py
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from gunicorn_backlog.metrics.catalog import (
    BACKLOG,
    CATALOG,
    CPU_WAIT,
    DEEPEST,
    DELAY_95,
    DELAY_AVG,
    DELAY_MAX,
    DROPPED,
    LOST,
    OLDEST,
    QUEUED,
    SATURATED,
    SPAWNED,
    STRANDED,
    TIMEOUT_USED,
    WAIT_95,
    WAIT_AVG,
    WAIT_MAX,
    Metric,
)

PATH = Path(__file__).with_name("metadata.csv")
COLUMNS = (
    *("metric_name", "metric_type", "interval", "unit_name", "per_unit_name", "description"),
    *("orientation", "integration", "short_name", "curated_metric", "sample_tags"),
)
FLUSH_S = 10  # the Agent's
BAD_IF_HIGH = (
    *(BACKLOG, DROPPED, DEEPEST, SPAWNED, SATURATED, QUEUED),
    *(WAIT_AVG, WAIT_MAX, WAIT_95),
    *(DELAY_AVG, DELAY_MAX, DELAY_95),
    *(OLDEST, STRANDED),
    *(LOST, TIMEOUT_USED, CPU_WAIT),
)
# The Agent's aggregates of a histogram, without ``.count``, which counts values.
AGGREGATES = {
    "avg": "average of ten seconds",
    "max": "maximum of ten seconds",
    "median": "median of ten seconds",
    "95percentile": "95th percentile of ten seconds",
}


def text() -> str:
    """Return the file's content."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for metric in CATALOG for row in rows(metric))
    return file.getvalue()


def rows(metric: Metric) -> Iterator[dict[str, object]]:
    """Yield a row for each series that Datadog keeps of a metric; a service check has none."""
    if metric.type == "histogram":
        for suffix, aggregate in AGGREGATES.items():
            yield _row(metric, f".{suffix}", "gauge", f"{metric.description}: {aggregate}")
        description = "Samples of the accept queue"
        yield _row(metric, ".count", "rate", description) | {"unit_name": "", "orientation": 0}
    elif metric.type == "count":
        # The Agent converts counts to rates per second.
        yield _row(metric, "", "rate", metric.description) | {"per_unit_name": "second"}
    elif metric.type == "gauge":
        yield _row(metric, "", "gauge", metric.description)


def _row(metric: Metric, suffix: str, kind: str, description: str) -> dict[str, object]:
    name = f"{metric.name}{suffix}"
    return {
        "metric_name": name,
        "metric_type": kind,
        "interval": FLUSH_S,
        "unit_name": metric.unit,
        "description": f"{description}.",
        "orientation": -1 if metric in BAD_IF_HIGH else 0,
        "integration": "gunicorn",
        "short_name": name.partition(".")[2].replace(".", " ").replace("_", " "),
    }


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
