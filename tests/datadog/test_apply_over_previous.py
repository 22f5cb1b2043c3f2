"""apply.py in an account with the objects of the previous release: an update, no duplicates."""

from __future__ import annotations

import json
from pathlib import Path

from wanted import Wanted, wanted

from tests.datadog.applying import ALL, run
from tests.datadog.files import DASHBOARD, MONITORS
from tests.datadog.standin_api import StandInApi

PREVIOUS = json.loads(Path(__file__).with_name("previous_release.json").read_text())


def previous(folder: Path) -> list[Wanted]:
    """Return the objects of the previous release, from its files in a folder."""
    (folder / "monitors").mkdir(parents=True)
    for name, monitor in PREVIOUS["monitors"].items():
        (folder / "monitors" / f"{name}.json").write_text(json.dumps(monitor))
    (folder / "dashboard.json").write_text(json.dumps(PREVIOUS["dashboard"]))
    (folder / "metadata.csv").write_text(PREVIOUS["metadata"])
    return wanted(folder)


def test_the_previous_release_is_updated(api: StandInApi, tmp_path: Path) -> None:
    """Each former monitor and the dashboard keep their ids; only new monitors are created."""
    for want in previous(tmp_path / "previous"):
        path = f"metrics/{want.key}" if want.kind == "metric" else want.kind
        api.answer("PUT" if want.kind == "metric" else "POST", path, {}, want.body)
    before = {monitor["name"]: number for number, monitor in api.monitors.items()}
    (dashboard,) = api.dashboards
    assert len(before) == len(PREVIOUS["monitors"]) < len(MONITORS)

    done = run(api.url)
    assert done.returncode == 0, done.stderr
    created = len(MONITORS) - len(before)
    assert f"\n{created} created, " in done.stdout
    names = {monitor["name"]: number for number, monitor in api.monitors.items()}
    assert names.items() >= before.items()
    assert sorted(names) == sorted(each["definition"]["name"] for each in MONITORS.values())
    assert len(api.monitors) == len(MONITORS)
    assert [*api.dashboards] == [dashboard]
    assert len(api.dashboards[dashboard]["widgets"]) == len(DASHBOARD["widgets"])

    api.requests.clear()
    assert run(api.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"
    assert api.writes == []
