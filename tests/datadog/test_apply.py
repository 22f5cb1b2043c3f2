"""apply.py, run by its command line against a local stand-in for Datadog's API."""

from __future__ import annotations

from pathlib import Path

from tests.datadog.applying import ALL, METRICS, OBJECTS, run
from tests.datadog.files import MONITORS
from tests.datadog.standin_api import StandInApi


def test_the_first_run_creates_and_the_second_changes_nothing(api: StandInApi) -> None:
    """Added fields, reordered tags and the API's other name of a type are no differences."""
    first = run(api.url)
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith(f"{OBJECTS} created, {METRICS} changed, 0 unchanged\n")
    assert len(api.monitors) == len(MONITORS)
    assert len(api.dashboards) == 1
    assert len(api.metrics) == METRICS
    assert api.metrics["gunicorn.backlog.dropped"]["unit"] == "connection"
    assert api.metrics["gunicorn.backlog.dropped"]["per_unit"] == "second"

    api.requests.clear()
    second = run(api.url)
    assert second.stdout == f"0 created, 0 changed, {ALL} unchanged\n"
    assert api.writes == []


def test_a_changed_threshold_updates_one_object(filled: StandInApi, folder: Path) -> None:
    """The output has the former and the new threshold."""
    path = folder / "monitors" / "saturated_workers.json"
    path.write_text(path.read_text().replace("> 90", "> 85").replace('cal": 90', 'cal": 85'))
    done = run(filled.url, folder=folder)

    assert done.stdout.splitlines() == [
        'change monitor "[gunicorn] Workers are saturated"',
        '    query: ...} by {env,service,app,bind} > 90" -> ...} by {env,service,app,bind} > 85"',
        "    options.thresholds.critical: 90 -> 85",
        f"0 created, 1 changed, {ALL - 1} unchanged",
    ]
    (written,) = filled.writes
    (changed,) = [
        monitor for monitor in filled.monitors.values() if monitor["query"].endswith("> 85")
    ]
    assert written == f"PUT monitor/{changed['id']}"
    assert changed["options"]["thresholds"]["critical"] == 85


def test_a_dry_run_shows_what_would_be_created(api: StandInApi) -> None:
    """In an empty account all objects are listed, and none is created."""
    done = run(api.url, "--dry-run")
    assert done.stdout.count("would create monitor") == len(MONITORS)
    assert done.stdout.endswith(f"{OBJECTS} to create, {METRICS} to change, 0 unchanged\n")
    assert api.writes == []


def test_a_dry_run_shows_the_difference(filled: StandInApi) -> None:
    """A manual change in the account is listed, and stays."""
    (dashboard,) = filled.dashboards.values()
    dashboard["template_variables"][0]["defaults"] = ["web"]
    filled.metrics["gunicorn.workers"]["unit"] = "process"
    before = filled.state()
    done = run(filled.url, "--dry-run")
    assert done.stdout.splitlines() == [
        'would change dashboard "gunicorn: backlog and saturation"',
        '    template_variables[0].defaults[0]: "web" -> "*"',
        'would change metric "gunicorn.workers"',
        '    unit: "process" -> "worker"',
        f"0 to create, 2 to change, {ALL - 2} unchanged",
    ]
    assert (filled.writes, filled.state()) == ([], before)


def test_a_monitor_that_is_not_there_is_not_made(api: StandInApi, folder: Path) -> None:
    """A monitor whose file was deleted is not created, as the README describes."""
    (folder / "monitors" / "not_running.json").unlink()
    done = run(api.url, folder=folder)
    assert done.stdout.endswith(f"{OBJECTS - 1} created, {METRICS} changed, 0 unchanged\n")


def test_those_to_notify_are_in_each_message(api: StandInApi) -> None:
    """Handles are part of each message, and of the comparison."""
    run(api.url, "--notify", "@slack-ops", "--notify", "@me")
    assert all(
        monitor["message"].endswith("\n\n@slack-ops @me") for monitor in api.monitors.values()
    )
    api.requests.clear()
    run(api.url, "--notify", "@slack-ops", "--notify", "@me")
    assert api.writes == []


def test_metrics_that_were_never_sent_are_left_out(api: StandInApi) -> None:
    """Datadog refuses metadata of unknown metrics; a later run sends the metadata."""
    missing = ["gunicorn.backlog.deepest", "gunicorn.threads"]
    for name in missing:
        del api.metrics[name]
    told = (
        "not sent to Datadog yet: 2 metrics (gunicorn.backlog.deepest, gunicorn.threads),"
        " which can't be described before; run this again when they are\n"
    )
    dry = run(api.url, "--dry-run")
    counted = f"{OBJECTS} to create, {METRICS - 2} to change, 0 unchanged\n"
    assert dry.stdout.endswith(counted + told)
    first = run(api.url)
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith(f"{OBJECTS} created, {METRICS - 2} changed, 0 unchanged\n" + told)
    assert not {f"PUT metrics/{name}" for name in missing} & {*api.requests}

    api.receive(*missing)
    assert run(api.url).stdout.endswith(f"0 created, 2 changed, {ALL - 2} unchanged\n")
    assert api.metrics["gunicorn.threads"]["unit"] == "thread"


def test_what_owners_added_to_a_monitor_stays(filled: StandInApi, folder: Path) -> None:
    """Added tags, options and a priority are no difference, and survive our changes."""
    (monitor,) = [
        monitor for monitor in filled.monitors.values() if monitor["query"].endswith("> 90")
    ]
    monitor["tags"] = ["team:x", *monitor["tags"]]
    monitor["options"]["escalation_message"] = "call me"
    monitor["options"]["thresholds"] = {"critical_recovery": 70, **monitor["options"]["thresholds"]}
    monitor["priority"] = 2
    assert run(filled.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"

    path = folder / "monitors" / "saturated_workers.json"
    path.write_text(path.read_text().replace("> 90", "> 85").replace('cal": 90', 'cal": 85'))
    done = run(filled.url, folder=folder)
    assert done.stdout.endswith(f"0 created, 1 changed, {ALL - 1} unchanged\n"), done.stderr
    changed = filled.monitors[monitor["id"]]
    assert {"team:x", *MONITORS["saturated_workers"]["definition"]["tags"]} == {*changed["tags"]}
    assert changed["options"]["escalation_message"] == "call me"
    wanted_thresholds = {"critical": 85, "warning": 80, "critical_recovery": 70}
    assert changed["options"]["thresholds"] == wanted_thresholds
    assert changed["priority"] == 2
    assert run(filled.url, folder=folder).stdout == f"0 created, 0 changed, {ALL} unchanged\n"


def test_a_tag_of_ours_that_is_missing_is_added(filled: StandInApi) -> None:
    """A missing tag of ours is added, and tags of others stay."""
    monitor = next(iter(filled.monitors.values()))
    monitor["tags"] = ["team:x", *(tag for tag in monitor["tags"] if "integration" not in tag)]
    done = run(filled.url)
    assert '    tags: "integration:gunicorn" is added' in done.stdout.splitlines()
    assert {"team:x", "integration:gunicorn"} <= {*filled.monitors[monitor["id"]]["tags"]}


def test_the_dashboard_is_ours_as_a_whole(filled: StandInApi) -> None:
    """An added widget is removed; notified users and tags of the dashboard stay."""
    (dashboard,) = filled.dashboards.values()
    dashboard |= {"tags": ["team:x"], "notify_list": ["me@x.y"]}
    assert run(filled.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"
    groups = len(dashboard["widgets"])
    dashboard["widgets"].append({"definition": {"type": "note", "content": "mine"}})
    dry = run(filled.url, "--dry-run")
    assert dry.stdout.splitlines()[0].startswith("would change dashboard")
    done = run(filled.url)
    assert done.stdout.endswith(f"0 created, 1 changed, {ALL - 1} unchanged\n"), done.stderr
    (changed,) = filled.dashboards.values()
    assert len(changed["widgets"]) == groups
    assert (changed["tags"], changed["notify_list"]) == (["team:x"], ["me@x.y"])


def test_the_dashboard_is_found_among_many(filled: StandInApi) -> None:
    """The dashboard is found on the third page of a hundred each."""
    ours = filled.dashboards.popitem()
    for number in range(250):
        other = {"id": str(number), "title": f"other {number}"}
        filled.dashboards[str(number)] = ours[1] | other
    filled.dashboards[ours[0]] = ours[1]
    assert run(filled.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"


def test_monitors_of_others_are_left_alone(filled: StandInApi) -> None:
    """Our monitors are found by their tags, whatever their names are."""
    next(iter(filled.monitors.values()))["name"] = "renamed"
    filled.monitors[7] = {"id": 7, "tags": ["team:x"], "name": "[gunicorn] Workers are saturated"}
    done = run(filled.url)
    assert done.stdout.endswith(f"0 created, 1 changed, {ALL - 1} unchanged\n")
    assert filled.monitors[7]["name"] == "[gunicorn] Workers are saturated"
