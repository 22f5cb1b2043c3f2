"""apply.py is refused or stopped: completed changes are undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.datadog.applying import check_refused, environment, run, run_in_fork
from tests.datadog.files import FOLDER, MONITORS
from tests.datadog.standin_api import Answer, StandInApi
from tests.lab.waiting import DEADLINE_S

COMMAND = [str(FOLDER / "apply.py")]
QUOTA: Answer = (429, {"errors": ["Rate limit reached"]})


def fail_at(api: StandInApi, number: int, answer: Answer) -> None:
    """Set the API's response to the write of that number, counted from 1."""
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
    """Created objects are deleted, whether a monitor, the dashboard or a metric is refused."""
    before = api.state()
    fail_at(api, number, answer)
    check_refused(run(api.url), said, "nothing was changed")
    assert api.state() == before


def test_changes_are_taken_back_too(filled: StandInApi, folder: Path) -> None:
    """All objects have their former content, including fields of others."""
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
        assert [objects.keys() for objects in json.loads(filled.state())] == [
            objects.keys() for objects in before
        ]
        for was, now in zip(before, json.loads(filled.state()), strict=True):
            for key, objects in was.items():
                tags = {"tags"} & objects.keys()  # the stand-in reverses the tags each time
                assert {k: v for k, v in objects.items() if k not in tags} == {
                    k: v for k, v in now[key].items() if k not in tags
                }


def test_what_could_not_be_taken_back_is_named(api: StandInApi) -> None:
    """The API refuses everything after the second monitor: the output lists what is left."""
    api.fault = lambda method, path: QUOTA if len(api.writes) >= 3 else None
    check_refused(
        run(api.url),
        'may be left as it is now: monitor "[gunicorn] Backlog does not drain", '
        'monitor "[gunicorn] Backlog is near its limit"',
    )


def test_an_answer_that_ends_in_its_middle_takes_all_back(api: StandInApi) -> None:
    """All created objects are found and deleted, including that of the truncated response."""
    before, api.cut_at = api.state(), 3
    check_refused(run(api.url), "POST monitor: ", "IncompleteRead", "nothing was changed")
    assert api.state() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_back_what_was_made(api: StandInApi, number: signal.Signals) -> None:
    """SIGINT, SIGTERM and SIGHUP undo all changes, including one without a response."""
    before, made, go_on = api.state(), threading.Event(), threading.Event()

    def hold() -> None:
        if len(api.writes) == 3 and not made.is_set():
            made.set()
            go_on.wait(DEADLINE_S)

    api.before_reply = hold

    def stop(pid: int) -> None:
        assert made.wait(DEADLINE_S)
        assert len(api.monitors) == 3
        os.kill(pid, number)

    done = run_in_fork(COMMAND, environment(api.url), stop)
    go_on.set()
    assert done.stderr == "apply: stopped; nothing was changed\n"
    assert done.returncode == 1
    assert api.state() == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_stop_the_taking_back(
    api: StandInApi, second: signal.Signals
) -> None:
    """Neither a second signal nor a first one during the undo stops the undo."""
    before = api.state()
    for refused in (True, False):
        api.requests.clear()
        check_taken_back(api, second, refused)
        assert api.state() == before


def check_taken_back(api: StandInApi, second: signal.Signals, refused: bool) -> None:
    """Stop the run in the third change, by a refusal or SIGINT; send a signal during the undo."""
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

    def stop(pid: int) -> None:
        assert made.wait(DEADLINE_S)
        if not refused:
            os.kill(pid, signal.SIGINT)
            assert taking_back.wait(DEADLINE_S)
        go_on.set()
        assert taking_back.wait(DEADLINE_S)
        os.kill(pid, second)
        taken_back.set()

    stderr = run_in_fork(COMMAND, environment(api.url), stop).stderr
    assert stderr.startswith("apply: POST monitor: 429" if refused else "apply: stopped")
    assert stderr.endswith("; nothing was changed\n")
    assert len(stderr.splitlines()) == 1


def test_an_ignored_ctrl_c_stays_ignored(api: StandInApi) -> None:
    """In the background of a shell SIGINT is for the foreground process."""
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
