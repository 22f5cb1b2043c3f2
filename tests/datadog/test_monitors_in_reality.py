"""The monitors against what real servers pushed: each fires in its phase, none in a healthy one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.datadog.agent_flush import Received, flush
from tests.datadog.evaluator import ALERT, NO_DATA, OK, WARN, evaluate
from tests.datadog.files import MONITORS
from tests.datadog.phases import FOLDER, PHASES, SPEED, record
from tests.datadog.recording import Recording
from tests.lab.gunicorns import Gunicorn

EVERY_S = 60  # how often a monitor is evaluated
SHORT_S = 4.0

# All that leave OK in a phase, and how far.
FIRE: dict[str, dict[str, str]] = {
    "healthy": {},
    "saturated": {
        "saturated_workers": ALERT,
        "backlog_not_draining": ALERT,
        "requests_waiting": ALERT,
    },
    "overflow": {
        "saturated_workers": ALERT,
        "backlog_not_draining": ALERT,
        "backlog_near_limit": ALERT,
        "connections_dropped": ALERT,
        "requests_waiting": ALERT,
    },
    "crash_loop": {"crash_loop": ALERT},
    "killed": {"no_data": NO_DATA, "not_running": NO_DATA},
    "stopped": {"no_data": NO_DATA, "not_running": ALERT},
}


def received(recording: Recording) -> Received:
    """Return what Datadog gets of a recording on the compressed clock."""
    pushes = [(at_s * SPEED, lines) for at_s, lines in recording.pushes]
    return flush(pushes, recording.lasts_s * SPEED)


def worst(definition: Mapping[str, Any], got: Received) -> str:
    """Return the worst state that a monitor comes to when it is evaluated each minute."""
    states = [
        state
        for at_s in range(EVERY_S, int(got.until_s) + 1, EVERY_S)
        for state in evaluate(definition, got, at_s).values()
    ]
    assert states, "no group was ever heard of"
    return max(states, key=(OK, WARN, NO_DATA, ALERT).index)


@pytest.mark.parametrize("phase", PHASES)
def test_just_the_monitors_of_a_phase_fire(phase: str) -> None:
    """By their own queries, thresholds and options, in twelve minutes of it."""
    got = received(Recording.read(FOLDER / f"{phase}.tsv"))
    states = {name: worst(monitor["definition"], got) for name, monitor in MONITORS.items()}
    assert {name: state for name, state in states.items() if state != OK} == FIRE[phase]


def test_each_monitor_fires_somewhere() -> None:
    """There is none that nothing can set off."""
    assert {name for fired in FIRE.values() for name in fired} == MONITORS.keys()


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    """To the hundredth of a second, all lines with all values."""
    recording = Recording.read(FOLDER / "stopped.tsv")
    recording.write(tmp_path / "again", "a comment\nof two lines")
    assert Recording.read(tmp_path / "again") == recording


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
    """Return the names, types and tags of all series, but for the listener's port."""
    return {
        (line.name, line.type, frozenset(tag for tag in line.tags if "listener" not in tag))
        for _, lines in recording.pushes
        for line in lines
    }


def silent_at_the_end(recording: Recording) -> bool:
    return recording.lasts_s - recording.pushes[-1][0] > 1


# What makes a phase what it is, said so that a machine that is busy otherwise does not change it.
ALIKE: dict[str, Callable[[Recording], bool]] = {
    "healthy": lambda it: mean(it, "gunicorn.workers.utilization") > 10,
    "saturated": lambda it: (
        mean(it, "gunicorn.workers.utilization") > 85
        and 6 < mean(it, "gunicorn.backlog") < 11
        and mean(it, "gunicorn.backlog.dropped") == 0
    ),
    "overflow": lambda it: (
        mean(it, "gunicorn.backlog.limit") == 4
        and 3 < mean(it, "gunicorn.backlog") <= 5
        and mean(it, "gunicorn.backlog.dropped") > 0
    ),
    "crash_loop": lambda it: mean(it, "gunicorn.workers.spawned") > 0.02,
    "killed": lambda it: silent_at_the_end(it) and mean(it, "gunicorn.is_running") == 0,
    "stopped": lambda it: silent_at_the_end(it) and mean(it, "gunicorn.is_running") > 0,
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_fresh_recording_looks_like_the_one_that_is_kept(
    phase: str, newest: Gunicorn, tmp_path: Path
) -> None:
    """The same series, and what makes the phase what it is, in four seconds of it."""
    kept = Recording.read(FOLDER / f"{phase}.tsv")
    fresh = record(PHASES[phase], newest, tmp_path, SHORT_S)
    assert series(fresh) == series(kept)
    assert ALIKE[phase](kept)
    assert ALIKE[phase](fresh)
