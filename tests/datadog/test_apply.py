"""apply.py, as a user runs it, against a local stand-in for Datadog's API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from wanted import wanted

from tests.datadog.files import FOLDER, MONITORS
from tests.datadog.standin_api import KEYS, Answer, StandInApi
from tests.lab.waiting import DEADLINE_S

NAMES = [row.partition(",")[0] for row in (FOLDER / "metadata.csv").read_text().splitlines()[1:]]
METRICS = len(NAMES)
OBJECTS = len(MONITORS) + 1
ALL = OBJECTS + METRICS


@pytest.fixture
def api() -> Iterator[StandInApi]:
    """A stand-in for Datadog's API that got all our metrics already."""
    with StandInApi() as made:
        made.receive(*NAMES)
        yield made


@pytest.fixture
def filled(api: StandInApi) -> StandInApi:
    """The stand-in with all objects, as a first run makes them; its requests count from then on."""
    for it in wanted():
        path = f"metrics/{it.key}" if it.kind == "metric" else it.kind
        api.answer("PUT" if it.kind == "metric" else "POST", path, {}, it.body)
    api.requests.clear()
    return api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of examples/datadog, to change."""
    return Path(shutil.copytree(FOLDER, tmp_path / "datadog"))


def environment(url: str) -> dict[str, str]:
    """Return ours, without what Datadog's client and coverage read, and with keys for an API."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("DD_", "DATADOG_", "COV"))
    }
    return inherited | {"DD_API_KEY": KEYS[0], "DD_APP_KEY": KEYS[1], "DATADOG_HOST": url}


def start(
    url: str, *arguments: str, folder: Path = FOLDER, **variables: str
) -> subprocess.Popen[str]:
    """Start apply.py against an API."""
    return subprocess.Popen(
        [sys.executable, str(folder / "apply.py"), *arguments],
        env=environment(url) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def hear_ctrl_c() -> None:
    """Undo what a shell does to what it runs in the background, these tests for example."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(
    url: str, *arguments: str, folder: Path = FOLDER, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run apply.py against an API."""
    return subprocess.run(
        [sys.executable, str(folder / "apply.py"), *arguments],
        env=environment(url) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def check_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Assert that it ended with one line that says these things, and no key."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("apply: ")
    assert all(part in line for part in parts), line
    assert not any(key in line for key in KEYS)


def test_the_first_run_creates_and_the_second_changes_nothing(api: StandInApi) -> None:
    """Though the API adds fields, turns tags round, and calls a query alert a metric alert."""
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
    """And says what it was, and what it is now."""
    path = folder / "monitors" / "saturated_workers.json"
    path.write_text(path.read_text().replace("> 90", "> 85").replace('cal": 90', 'cal": 85'))
    done = run(filled.url, folder=folder)

    assert done.stdout.splitlines() == [
        'change monitor "[gunicorn] Workers are saturated"',
        '    query: ...ion{*} by {env,service,app} > 90" -> ...ion{*} by {env,service,app} > 85"',
        "    options.thresholds.critical: 90 -> 85",
        f"0 created, 1 changed, {ALL - 1} unchanged",
    ]
    (written,) = filled.writes
    (changed,) = [it for it in filled.monitors.values() if it["query"].endswith("> 85")]
    assert written == f"PUT monitor/{changed['id']}"
    assert changed["options"]["thresholds"]["critical"] == 85


def test_a_dry_run_shows_what_would_be_created(api: StandInApi) -> None:
    """In an empty account."""
    done = run(api.url, "--dry-run")
    assert done.stdout.count("would create monitor") == len(MONITORS)
    assert done.stdout.endswith(f"{OBJECTS} to create, {METRICS} to change, 0 unchanged\n")
    assert api.writes == []


def test_a_dry_run_shows_the_difference(filled: StandInApi) -> None:
    """Where somebody changed things by hand; it changes nothing."""
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
    """As the README says: whoever does not want one deletes its file."""
    (folder / "monitors" / "not_running.json").unlink()
    done = run(api.url, folder=folder)
    assert done.stdout.endswith(f"{OBJECTS - 1} created, {METRICS} changed, 0 unchanged\n")


def test_those_to_notify_are_in_each_message(api: StandInApi) -> None:
    """And are part of what is compared."""
    run(api.url, "--notify", "@slack-ops", "--notify", "@me")
    assert all(it["message"].endswith("\n\n@slack-ops @me") for it in api.monitors.values())
    api.requests.clear()
    run(api.url, "--notify", "@slack-ops", "--notify", "@me")
    assert api.writes == []


def test_metrics_that_were_never_sent_are_left_out(api: StandInApi) -> None:
    """Datadog refuses metadata of what it does not know; a later run describes them."""
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
    """Tags, options and a priority; it is no difference, and is kept when ours is changed."""
    (monitor,) = [it for it in filled.monitors.values() if it["query"].endswith("> 90")]
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
    """And those of others stay."""
    monitor = next(iter(filled.monitors.values()))
    monitor["tags"] = ["team:x", *(tag for tag in monitor["tags"] if "integration" not in tag)]
    done = run(filled.url)
    assert '    tags: "integration:gunicorn" is added' in done.stdout.splitlines()
    assert {"team:x", "integration:gunicorn"} <= {*filled.monitors[monitor["id"]]["tags"]}


def test_the_dashboard_is_ours_as_a_whole(filled: StandInApi) -> None:
    """A widget that was added is removed; who is told, and tags of the dashboard, stay."""
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
    """The API gives a hundred of them at once."""
    ours = filled.dashboards.popitem()
    for number in range(250):
        other = {"id": str(number), "title": f"other {number}"}
        filled.dashboards[str(number)] = ours[1] | other
    filled.dashboards[ours[0]] = ours[1]
    assert run(filled.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"


def test_monitors_of_others_are_left_alone(filled: StandInApi) -> None:
    """Ours are found by their tags, whatever they are called by now."""
    next(iter(filled.monitors.values()))["name"] = "renamed"
    filled.monitors[7] = {"id": 7, "tags": ["team:x"], "name": "[gunicorn] Workers are saturated"}
    done = run(filled.url)
    assert done.stdout.endswith(f"0 created, 1 changed, {ALL - 1} unchanged\n")
    assert filled.monitors[7]["name"] == "[gunicorn] Workers are saturated"


def test_a_refused_key_is_one_line(api: StandInApi) -> None:
    """With what to check."""
    done = run(api.url, DD_APP_KEY="another")
    check_refused(done, "GET monitor: 403: Forbidden (check DD_API_KEY, DD_APP_KEY")
    assert api.requests == []


def test_a_key_that_is_none_is_not_printed(api: StandInApi) -> None:
    """A line break or a blank comes with it from a file: the client would print it all."""
    for key in (f"{KEYS[0]}\n", f" {KEYS[0]}"):
        check_refused(run(api.url, DD_API_KEY=key), "DD_API_KEY has blanks, line breaks")
    assert api.requests == []


QUOTA: Answer = (429, {"errors": ["Rate limit reached"]})


def fail_at(api: StandInApi, number: int, answer: Answer) -> None:
    """Have the API answer so to the write of that number, counted from 1."""
    api.fault = lambda method, path: (
        answer if len(api.writes) == number and method != "GET" else None
    )


@pytest.mark.parametrize(
    ("number", "answer", "said"),
    [
        (1, QUOTA, "429: Rate limit reached (try again in 7 s)"),
        (2, QUOTA, "POST monitor: 429"),
        (3, (400, {"errors": ["Monitor limit reached"]}), "400: Monitor limit reached (Datadog"),
        (3, (400, {"errors": "Forbidden"}), "400: Forbidden (Datadog"),
        (3, (400, {"errors": []}), "400: no reason given (Datadog"),
        (3, (500, {}), "500"),
        (3, (200, "<html>a proxy's page"), "Invalid JSON response"),
        (len(MONITORS) + 1, QUOTA, "POST dashboard: 429"),
        (len(MONITORS) + 2, QUOTA, "PUT metrics/gunicorn.backlog.avg: 429"),
    ],
)
def test_what_was_made_before_a_refusal_is_taken_back(
    api: StandInApi, number: int, answer: Answer, said: str
) -> None:
    """In the midst of the monitors, at the dashboard, at the first metric."""
    before = api.state()
    fail_at(api, number, answer)
    check_refused(run(api.url), said, "nothing was changed")
    assert api.state() == before


def test_changes_are_taken_back_too(filled: StandInApi, folder: Path) -> None:
    """All is as it was, with what others had set."""
    next(iter(filled.monitors.values()))["options"]["silenced"] = {"*": None}
    (dashboard,) = filled.dashboards.values()
    dashboard |= {"tags": ["team:x"], "title": dashboard["title"], "description": "mine"}
    for path in folder.glob("monitors/*.json"):
        path.write_text(path.read_text().replace("**Why it matters**", "**Why**"))
    metadata = folder / "metadata.csv"
    metadata.write_text(metadata.read_text().replace("Workers by state", "Workers"))
    before = json.loads(filled.state())
    for number in (3, len(MONITORS) + 1):
        filled.requests.clear()
        fail_at(filled, number, QUOTA)
        check_refused(run(filled.url, folder=folder), "nothing was changed")
        assert [it.keys() for it in json.loads(filled.state())] == [it.keys() for it in before]
        for was, now in zip(before, json.loads(filled.state()), strict=True):
            for key, it in was.items():
                tags = {"tags"} & it.keys()  # the stand-in turns them round each time
                assert {k: v for k, v in it.items() if k not in tags} == {
                    k: v for k, v in now[key].items() if k not in tags
                }


def test_what_could_not_be_taken_back_is_named(api: StandInApi) -> None:
    """The API takes nothing any more after the second monitor."""
    api.fault = lambda method, path: QUOTA if len(api.writes) >= 3 else None
    check_refused(
        run(api.url),
        'may be left as it is now: monitor "[gunicorn] Backlog does not drain", '
        'monitor "[gunicorn] Backlog is near its limit"',
    )


def test_an_answer_that_ends_in_its_middle_takes_all_back(api: StandInApi) -> None:
    """What was made by then is found again, that of this answer too."""
    before, api.cut_at = api.state(), 3
    check_refused(run(api.url), "POST monitor: ", "IncompleteRead", "nothing was changed")
    assert api.state() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_back_what_was_made(api: StandInApi, number: signal.Signals) -> None:
    """Ctrl-C, or a service manager's; also what was made, and not yet answered."""
    before, made, go_on = api.state(), threading.Event(), threading.Event()

    def hold() -> None:
        if len(api.writes) == 3 and not made.is_set():
            made.set()
            go_on.wait(DEADLINE_S)

    api.before_reply = hold
    with start(api.url) as process:
        assert made.wait(DEADLINE_S)
        assert len(api.monitors) == 3
        process.send_signal(number)
        _, stderr = process.communicate(timeout=DEADLINE_S)
        go_on.set()
    assert stderr == "apply: stopped; nothing was changed\n"
    assert process.returncode == 1
    assert api.state() == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_stop_the_taking_back(
    api: StandInApi, second: signal.Signals
) -> None:
    """Nor does a first one that comes when a refusal is being taken back."""
    before = api.state()
    for refused in (True, False):
        api.requests.clear()
        check_taken_back(api, second, refused)
        assert api.state() == before


def check_taken_back(api: StandInApi, second: signal.Signals, refused: bool) -> None:
    """Stop it in the third change, by a refusal or Ctrl-C; send a signal when it takes back."""
    stages = [threading.Event() for _ in range(4)]
    made, go_on, taking_back, taken_back = stages

    def hold() -> None:
        if len(api.writes) == 3 and not made.is_set():
            made.set()
            go_on.wait(DEADLINE_S)
        elif api.requests[-1].startswith("DELETE") and not taking_back.is_set():
            taking_back.set()
            taken_back.wait(DEADLINE_S)

    api.before_reply = hold
    if refused:
        fail_at(api, 3, QUOTA)
    with start(api.url) as process:
        assert made.wait(DEADLINE_S)
        if not refused:
            process.send_signal(signal.SIGINT)
            assert taking_back.wait(DEADLINE_S)
        go_on.set()
        assert taking_back.wait(DEADLINE_S)
        process.send_signal(second)
        taken_back.set()
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert stderr.startswith("apply: POST monitor: 429" if refused else "apply: stopped")
    assert stderr.endswith("; nothing was changed\n")
    assert len(stderr.splitlines()) == 1


def test_an_ignored_ctrl_c_stays_ignored(api: StandInApi) -> None:
    """As in the background of a shell, where it is meant for what runs before it."""
    made, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        if len(api.writes) == 3:
            made.set()
            go_on.wait(DEADLINE_S)

    api.before_reply = hold
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, str(FOLDER / "apply.py")]
    with subprocess.Popen(command, env=environment(api.url), stdout=subprocess.PIPE) as process:
        assert made.wait(DEADLINE_S)
        process.send_signal(signal.SIGINT)
        go_on.set()
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "answer", [{}, None, {"dashboards": [{"id": 1}]}, "[]", [{"id": 1, "tags": 1}]]
)
def test_another_api_is_one_line(api: StandInApi, answer: object) -> None:
    """JSON, but not what Datadog answers."""
    api.fault = lambda method, path: (200, answer)
    check_refused(run(api.url), "what answers is not Datadog's API; check DD_SITE")


def test_nobody_there_is_one_line() -> None:
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        check_refused(run(url), "GET monitor: Could not request GET", "Connection refused")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DD_API_KEY": ""}, "DD_API_KEY is not set"),
        ({"DD_APP_KEY": ""}, "DD_APP_KEY is not set"),
        ({"DD_SITE": "https://app.datadoghq.eu"}, "DD_SITE is 'https://app.datadoghq.eu'; allowed"),
    ],
)
def test_a_missing_setting_is_one_line(variables: dict[str, str], said: str) -> None:
    """What is missing, or what is allowed."""
    done = run("http://127.0.0.1:9", **variables)  # type: ignore[arg-type]  # none is a folder
    check_refused(done, said)


def test_two_of_one_kind_are_not_guessed_at(filled: StandInApi) -> None:
    """Somebody cloned a monitor: which of them is ours?"""
    filled.monitors[1] = next(iter(filled.monitors.values())) | {"id": 1}
    check_refused(run(filled.url), "there are 2 (monitor/1000, monitor/1); delete all but one")
    assert filled.writes == []


def test_a_type_that_cannot_be_changed_is_told(filled: StandInApi) -> None:
    """Before anything else is changed."""
    for monitor in filled.monitors.values():
        monitor["type"] = "log alert"
    check_refused(run(filled.url), "its type can't be changed; delete it first")
    assert filled.writes == []


def test_a_monitor_that_datadog_finds_wrong_changes_nothing(api: StandInApi, folder: Path) -> None:
    """All are validated before the first is made."""
    path = folder / "monitors" / "saturated_workers.json"
    path.write_text(path.read_text().replace('"notify_audit": false', '"notify_audit": 1'))
    check_refused(run(api.url, folder=folder), "POST monitor/validate: 400", "notify_audit")
    assert api.writes == []


def test_tags_of_others_that_are_no_texts_are_passed_over(filled: StandInApi) -> None:
    """They are not ours."""
    api_monitors = [{"id": 1, "tags": [1, None]}, *filled.monitors.values()]
    filled.fault = lambda method, path: (
        (200, api_monitors) if (method, path) == ("GET", "monitor") else None
    )
    assert run(filled.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"


def test_tags_in_a_file_that_are_no_texts_are_one_line(api: StandInApi, folder: Path) -> None:
    """Which file."""
    path = folder / "monitors" / "no_data.json"
    path.write_text(path.read_text().replace('"integration:gunicorn",', "1,"))
    check_refused(run(api.url, folder=folder), str(path), "its tags are to be texts")
    assert api.requests == []


@pytest.mark.parametrize("file", ["monitors/no_data.json", "dashboard.json", "metadata.csv"])
def test_a_file_that_is_not_right_is_one_line(api: StandInApi, folder: Path, file: str) -> None:
    """Which one, and nothing is asked of the API."""
    (folder / file).write_text("{}" if file.endswith("json") else "a\n1\n")
    check_refused(run(api.url, folder=folder), str(folder / file))
    assert api.requests == []
