"""The monitors on recorded pushes: each fires in its phase, none in the healthy one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.datadog.agent_flush import Received
from tests.datadog.evaluator import ALERT, NO_DATA, OK, WARN, evaluate
from tests.datadog.files import MONITORS
from tests.datadog.made import received, recorded
from tests.datadog.phases import PHASES, record
from tests.datadog.recording import Recording
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.waiting import wait_for

EVERY_S = 60  # seconds between evaluations
SHORT_S, SHORT_INTERVAL_S = 3.0, 0.1

# The monitors that alert in a phase, and in no other phase.
WAITING = {"saturated_workers", "backlog_not_draining", "requests_waiting"}
FIRE: dict[str, set[str]] = {
    "healthy": set(),
    "saturated": WAITING,
    "overflow": WAITING | {"backlog_near_limit", "connections_dropped"},
    "slow": {"requests_waiting"},
    "crash_loop": {"crash_loop"},
    "killed": {"no_data", "not_running"},
    "stopped": {"no_data", "not_running"},
}


def worst(definition: Mapping[str, Any], got: Received) -> str:
    """Return a monitor's worst state when evaluated each minute."""
    states = [
        state
        for at_s in range(EVERY_S, int(got.until_s) + 1, EVERY_S)
        for state in evaluate(definition, got, at_s).values()
    ]
    assert states, "no group has data"
    return max(states, key=(OK, WARN, NO_DATA, ALERT).index)


@pytest.mark.parametrize("phase", PHASES)
def test_just_the_monitors_of_a_phase_fire(phase: str) -> None:
    """The phase's monitors alert in twelve minutes; no other monitor even warns."""
    got = received(recorded(phase))
    states = {name: worst(monitor["definition"], got) for name, monitor in MONITORS.items()}
    assert {name for name, state in states.items() if state in (ALERT, NO_DATA)} == FIRE[phase]
    assert WARN not in states.values()


def test_the_healthy_phase_is_a_busy_one() -> None:
    """Slightly different monitors would alert in the healthy phase.

    These are: the queue's maximum, a lower threshold, and forks without ``default_zero``.
    """
    got = received(recorded("healthy"))
    crash_loop = MONITORS["crash_loop"]["definition"]
    early = crash_loop["options"] | {"require_full_window": False}
    assert worst(crash_loop | {"options": early}, got) == OK
    unfilled = crash_loop["query"].replace("default_zero", "")
    silent = {"on_missing_data": "show_no_data"}
    assert worst({"query": unfilled, "options": early | silent}, got) == ALERT
    options = MONITORS["backlog_not_draining"]["definition"]["options"]
    by_maximum = "min(last_5m):min:gunicorn.backlog.max{*} by {app,listener} > 0"
    assert worst({"query": by_maximum, "options": options}, got) == ALERT
    lower = {"thresholds": {"critical": 60}}
    utilization = MONITORS["saturated_workers"]["definition"]
    query = utilization["query"].replace("> 90", "> 60")
    assert worst({"query": query, "options": utilization["options"] | lower}, got) == ALERT


def test_slow_requests_would_not_be_seen_by_an_average() -> None:
    """A gauge's ten seconds mostly end in a second without a begun request."""
    options = MONITORS["requests_waiting"]["definition"]["options"]
    average = "avg(last_5m):avg:gunicorn.request.wait.95percentile{*} by {app} > 1000"
    assert worst({"query": average, "options": options}, received(recorded("slow"))) == OK


def test_each_monitor_fires_somewhere() -> None:
    """Each monitor alerts in at least one phase."""
    assert {name for fired in FIRE.values() for name in fired} == MONITORS.keys()


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All lines and values are equal, times to the hundredth of a second."""
    recording = recorded("stopped")
    recording.write(tmp_path / "again", "a comment\nof two lines")
    assert Recording.read(tmp_path / "again") == recording


@pytest.mark.parametrize("phase", PHASES)
def test_bind_is_the_only_listener(phase: str) -> None:
    """Every line of a recording has the tag, with the same value."""
    lines = [line for _, lines in recorded(phase).pushes for line in lines]
    (listener,) = {line.tag("listener") for line in lines if line.name == "gunicorn.backlog"}
    assert {line.tag("bind") for line in lines} == {listener}


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


def series(recording: Recording) -> set[tuple[str, str, frozenset[str]]]:
    """Return the names, types and tags of all series, without the server's port."""
    return {
        (line.name, line.type, frozenset(re.sub(r"(?<=0\.1:)\d+$", "", tag) for tag in line.tags))
        for _, lines in recording.pushes
        for line in lines
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
    "crash_loop": lambda phase: mean(phase, "gunicorn.workers.spawned") > 0.01,
    "killed": lambda phase: silent_at_the_end(phase) and mean(phase, "gunicorn.is_running") == 0,
    "stopped": lambda phase: silent_at_the_end(phase) and mean(phase, "gunicorn.is_running") > 0,
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_fresh_recording_looks_like_the_one_that_is_kept(
    phase: str, newest: Gunicorn, tmp_path: Path
) -> None:
    """Three seconds have the same series, and the properties of the phase."""
    kept = recorded(phase)
    assert ALIKE[phase](kept)

    def is_alike() -> bool:
        fresh = record(
            PHASES[phase], newest, tmp_path, lasts_s=SHORT_S, interval_s=SHORT_INTERVAL_S
        )
        assert series(fresh) == series(kept)
        return ALIKE[phase](fresh)

    wait_for("a recording alike", is_alike)
