"""The stored recordings are those of the present code: a fresh, short one is alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from tests.datadog.files import MONITORS, query_of
from tests.datadog.made import recorded
from tests.datadog.phases import PHASES, record
from tests.datadog.queries import metric_of
from tests.datadog.query import CheckQuery
from tests.datadog.recording import Recording
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import nightly
from tests.lab.waiting import wait_for

SHORT_S, SHORT_INTERVAL_S = 2.0, 0.1


def mean(recording: Recording, name: str, *tags: str) -> float:
    """Return the mean of all values of a metric; 0 if it was not pushed."""
    values = [
        value
        for _, lines in recording.pushes
        for line in lines
        if line.name == name and line.tags >= set(tags)
        for value in line.values
    ]
    return fmean(values) if values else 0.0


def used_metrics() -> set[str]:
    """Return the metrics of all monitors' queries."""
    found = set()
    for name in MONITORS:
        query = query_of(name)
        if isinstance(query, CheckQuery):
            found.add(query.name)
        else:
            found |= {metric_of(selection.metric)[0].name for selection in query.selections()}
    return found


def series(recording: Recording) -> set[tuple[str, str, frozenset[str]]]:
    """Return the names, types and tags of the monitors' series, without the server's port.

    Other metrics may be added without new recordings.
    """
    used = used_metrics()
    return {
        (line.name, line.type, frozenset(re.sub(r"(?<=0\.1:)\d+$", "", tag) for tag in line.tags))
        for _, lines in recording.pushes
        for line in lines
        if line.name in used
    }


def silent_at_the_end(recording: Recording) -> bool:
    return recording.lasts_s - recording.pushes[-1][0] > 1


# The properties of each phase, with bounds that hold on a machine with other load.
ALIKE: dict[str, Callable[[Recording], bool]] = {
    "healthy": lambda phase: mean(phase, "gunicorn.workers.utilization") > 10,
    "saturated": lambda phase: (
        mean(phase, "gunicorn.workers.utilization") > 85
        and 6 < mean(phase, "gunicorn.backlog") < 11
        and mean(phase, "gunicorn.backlog.dropped") == 0
    ),
    "overflow": lambda phase: (
        mean(phase, "gunicorn.backlog.limit") == 8
        and 6 < mean(phase, "gunicorn.backlog") <= 9.5
        and mean(phase, "gunicorn.backlog.dropped") > 0
    ),
    "slow": lambda phase: mean(phase, "gunicorn.requests.in_flight") > 0.5,
    "healthy_threads": lambda phase: (
        mean(phase, "gunicorn.workers.utilization") > 10
        and mean(phase, "gunicorn.threads", "pool:gthread") > 1
    ),
    "healthy_loops": lambda phase: (
        5 < mean(phase, "gunicorn.workers.utilization") < 80
        and mean(phase, "gunicorn.threads", "pool:default") > 1
    ),
    "saturated_threads": lambda phase: (
        mean(phase, "gunicorn.threads.queued") > 4 and mean(phase, "gunicorn.backlog") < 4
    ),
    "saturated_loops": lambda phase: mean(phase, "gunicorn.workers.utilization") > 85,
    "stranded": lambda phase: (
        0.5 < mean(phase, "gunicorn.requests.in_flight") < 4
        and mean(phase, "gunicorn.workers.utilization") < 90
    ),
    "full_pool": lambda phase: (
        mean(phase, "gunicorn.threads.queued") > 6
        and mean(phase, "gunicorn.workers.utilization") < 50
    ),
    "blocked": lambda phase: mean(phase, "gunicorn.loop.delay.max") > 200,
    "near_timeout": lambda phase: mean(phase, "gunicorn.requests.oldest") > 0.5,
    "timeout": lambda phase: mean(phase, "gunicorn.requests.oldest") > 0.5,
    "lost": lambda phase: (
        mean(phase, "gunicorn.backlog.deepest") > 6 and mean(phase, "gunicorn.backlog") > 12
    ),
    "crash_loop": lambda phase: mean(phase, "gunicorn.workers.spawned") > 0.01,
    "killed": lambda phase: silent_at_the_end(phase) and mean(phase, "gunicorn.is_running") == 0,
    "stopped": lambda phase: silent_at_the_end(phase) and mean(phase, "gunicorn.is_running") > 0,
}


# In two seconds near_timeout does not differ from timeout.
@pytest.mark.parametrize(
    "phase", [nightly(name, id=name) if name == "near_timeout" else name for name in PHASES]
)
def test_a_fresh_recording_looks_like_the_one_that_is_kept(
    phase: str, newest: Gunicorn, tmp_path: Path
) -> None:
    """Two seconds have the series of the stored one, and the properties of the phase."""
    kept = recorded(phase)
    assert ALIKE[phase](kept)

    def is_alike() -> bool:
        fresh = record(
            PHASES[phase], newest, tmp_path, lasts_s=SHORT_S, interval_s=SHORT_INTERVAL_S
        )
        if not fresh.pushes:  # a killed server may have had no time to push on a busy machine
            return False
        assert series(fresh) == series(kept)
        return ALIKE[phase](fresh)

    wait_for("a recording alike", is_alike)
