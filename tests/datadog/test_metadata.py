"""metadata.csv: generated from the catalog, in the columns of Datadog's integrations."""

from __future__ import annotations

import csv

import pytest
import write_metadata

from gunicorn_backlog.metrics.catalog import BACKLOG, CATALOG, LIMIT
from tests.datadog.files import FOLDER
from tests.datadog.models import MetricMetadata, complaints
from tests.datadog.queries import HISTOGRAM_SUFFIXES, QueryError, metric_of

COLUMNS = (
    "metric_name,metric_type,interval,unit_name,per_unit_name,description,orientation,integration,"
    "short_name,curated_metric,sample_tags"
)
LONGEST_DESCRIPTION = 400  # the limit of Datadog's own check
ROWS = list(csv.DictReader((FOLDER / "metadata.csv").read_text().splitlines()))


def test_it_is_what_the_catalog_makes() -> None:
    """Fails after a change of the catalog until write_metadata.py has run."""
    assert (FOLDER / "metadata.csv").read_text() == write_metadata.text()
    assert (FOLDER / "metadata.csv").read_text().splitlines()[0] == COLUMNS


def test_it_has_each_series_that_datadog_keeps() -> None:
    """The rows equal the series of the queries' check: five per histogram, none per check."""
    names = [row["metric_name"] for row in ROWS]
    assert len(set(names)) == len(names)
    made = [
        f"{metric.name}{suffix}"
        for metric in CATALOG
        if metric.type != "service_check"
        for suffix in (
            [f".{suffix}" for suffix in HISTOGRAM_SUFFIXES] if metric is BACKLOG else [""]
        )
    ]
    assert names == made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["metric_name"])
def test_a_row_says_what_the_catalog_says(row: dict[str, str]) -> None:
    """Unit and description are the metric's; a count is stored as a rate per second."""
    metric, suffix = metric_of(row["metric_name"])
    counts = metric.type == "count" or suffix == "count"
    assert row["metric_type"] == ("rate" if counts else "gauge")
    assert row["per_unit_name"] == ("second" if metric.type == "count" else "")
    assert (row["interval"], row["integration"]) == ("10", "gunicorn")
    assert row["orientation"] in ("-1", "0", "1")
    assert len(row["description"]) <= LONGEST_DESCRIPTION
    if suffix != "count":
        assert row["unit_name"] == metric.unit
        assert row["description"].startswith(metric.description)


def test_datadogs_models_take_each_row() -> None:
    """Each row is valid in the form that ``apply.py`` sends; an unknown field is found."""
    sent = {"type": "gauge", "unit": LIMIT.unit, "statsd_interval": 10, "short_name": "x"}
    assert complaints(MetricMetadata, sent) == []
    assert complaints(MetricMetadata, sent | {"unit_name": "x"}) == ["/unit_name: unknown field"]
    (found,) = complaints(MetricMetadata, sent | {"statsd_interval": "10"})
    assert "Invalid type for variable 'statsd_interval'" in found


def test_a_name_that_is_not_in_the_catalog_is_found() -> None:
    """The queries' check finds an unknown name."""
    with pytest.raises(QueryError):
        metric_of("gunicorn.backlog.depth")
