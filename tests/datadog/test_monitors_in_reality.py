"""The monitors on recorded pushes: each fires in its phase, none in the healthy one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.datadog.agent_flush import Received
from tests.datadog.evaluator import ALERT, NO_DATA, OK, WARN, evaluate
from tests.datadog.files import MONITORS
from tests.datadog.made import received, recorded
from tests.datadog.phases import PHASES
from tests.datadog.recording import Recording

EVERY_S = 60  # seconds between evaluations

ABSENT = "absent"  # no group has data: the worker class lacks a metric

# The matrix of phases and monitors: the monitors that alert in a phase, and no other one.
WAITING = {"saturated_workers", "backlog_not_draining", "requests_waiting"}
FIRE: dict[str, set[str]] = {
    "healthy": set(),
    "healthy_threads": set(),
    "healthy_loops": set(),
    "saturated": WAITING,
    "saturated_threads": {"saturated_workers", "requests_waiting", "pool_full"},
    "saturated_loops": {"saturated_workers"},
    "overflow": WAITING | {"backlog_near_limit", "connections_dropped"},
    "slow": {"requests_waiting"},
    "stranded": {"requests_stranded", "requests_waiting"},
    "full_pool": {"pool_full"},
    "blocked": {"loop_blocked"},
    "near_timeout": {"near_timeout"},
    "timeout": {"near_timeout", "workers_killed"},
    "lost": WAITING | {"connections_lost"},
    "crash_loop": {"crash_loop", "workers_killed"},
    "killed": {"no_data", "not_running"},
    "stopped": {"no_data", "not_running"},
}


def worst(definition: Mapping[str, Any], got: Received) -> str:
    """Return a monitor's worst state when evaluated each minute; ABSENT without data."""
    states = [
        state
        for at_s in range(EVERY_S, int(got.until_s) + 1, EVERY_S)
        for state in evaluate(definition, got, at_s).values()
    ]
    return max(states, key=(OK, WARN, NO_DATA, ALERT).index) if states else ABSENT


@pytest.mark.parametrize("phase", PHASES)
def test_just_the_monitors_of_a_phase_fire(phase: str) -> None:
    """The phase's monitors alert in twelve minutes; no other monitor even warns."""
    got = received(recorded(phase))
    states = {name: worst(monitor["definition"], got) for name, monitor in MONITORS.items()}
    print(*(f"{phase}: {name} {state}" for name, state in states.items()), sep="\n")
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
    lines = {line for _, lines in recorded(phase).pushes for line in lines}
    (listener,) = {line.tag("listener") for line in lines if line.name == "gunicorn.backlog"}
    assert {line.tag("bind") for line in lines} == {listener}
