"""apply.py after a removal from a file that an earlier run had applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.datadog.applying import ALL, run
from tests.datadog.standin_api import StandInApi

UNCHANGED = f"0 created, 0 changed, {ALL} unchanged\n"
ONE_CHANGED = f"0 created, 1 changed, {ALL - 1} unchanged\n"


def saturated(api: StandInApi) -> dict[str, Any]:
    """Return the API's version of the monitor that is changed here."""
    (found,) = [monitor for monitor in api.monitors.values() if monitor["query"].endswith("> 90")]
    return found


def replace(folder: Path, old: str, new: str) -> None:
    """Replace a text in the monitor's file."""
    path = folder / "monitors" / "saturated_workers.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_threshold_that_is_taken_out_is_removed(filled: StandInApi, folder: Path) -> None:
    """The threshold's recovery is removed, too; a recovery that an owner added stays."""
    added = {"critical_recovery": 70, "warning_recovery": 60}
    saturated(filled)["options"]["thresholds"] |= added
    assert run(filled.url).stdout == UNCHANGED
    replace(folder, '"critical": 90,\n        "warning": 80', '"critical": 90')
    done = run(filled.url, folder=folder)
    assert done.stdout.splitlines() == [
        'change monitor "[gunicorn] Workers are saturated"',
        "    options.thresholds.warning: 80 -> null",
        "    options.thresholds.warning_recovery: 60 -> null",
        ONE_CHANGED.strip(),
    ]
    assert saturated(filled)["options"]["thresholds"] == {"critical": 90, "critical_recovery": 70}
    assert run(filled.url, folder=folder).stdout == UNCHANGED


def test_another_option_that_is_taken_out_stays(filled: StandInApi, folder: Path) -> None:
    """Such an option may be its owner's; null removes an option, as in the README."""
    replace(folder, '"renotify_interval": 60', '"renotify_interval": null')
    assert run(filled.url, folder=folder).stdout.endswith(ONE_CHANGED)
    assert saturated(filled)["options"]["renotify_interval"] is None
    replace(folder, '      "renotify_interval": null,\n', "")
    saturated(filled)["options"]["renotify_interval"] = 30
    assert run(filled.url, folder=folder).stdout == UNCHANGED
