"""The monitor of killed workers, for each cause of an exit."""

from __future__ import annotations

import pytest

from gunicorn_backlog.metrics.catalog import EXIT_REASONS
from tests.datadog.evaluator import ALERT, OK, evaluate
from tests.datadog.files import MONITORS
from tests.datadog.made import BIND, pushed

EXITED = "gunicorn.workers.exited"
MONITOR = MONITORS["workers_killed"]["definition"]
KILLED = {"timeout", "oom", "killed", "crashed"}


@pytest.mark.parametrize("reason", EXIT_REASONS)
def test_the_causes_that_alert(reason: str) -> None:
    """One exit alerts for five minutes if a request may have been lost; others have no group."""
    seconds = [{EXITED: float(second == 100)} for second in range(600)]
    got = pushed(seconds, {EXITED: "c"}, f"reason:{reason}")
    group = ("lab", "demo", "lab", BIND, reason)
    states = [evaluate(MONITOR, got, at_s) for at_s in (90, 120, 380, 420)]
    expected = [{group: state} for state in (OK, ALERT, ALERT, OK)]
    assert states == (expected if reason in KILLED else [{}] * 4)
