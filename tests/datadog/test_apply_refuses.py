"""apply.py finds a fault before any change: one line, and no write."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.datadog.applying import ALL, check_refused, run
from tests.datadog.standin_api import KEYS, StandInApi


def test_a_refused_key_is_one_line(api: StandInApi) -> None:
    """The line for a refused key has the settings to check."""
    done = run(api.url, DD_APP_KEY="another")
    check_refused(done, "GET monitor: 403: Forbidden (check DD_API_KEY, DD_APP_KEY")
    assert api.requests == []


def test_a_key_that_is_none_is_not_printed(api: StandInApi) -> None:
    """A key with a line break or blank, as from a file, is not printed."""
    for key in (f"{KEYS[0]}\n", f" {KEYS[0]}"):
        check_refused(run(api.url, DD_API_KEY=key), "DD_API_KEY has blanks, line breaks")
    assert api.requests == []


@pytest.mark.parametrize(
    "answer", [{}, None, {"dashboards": [{"id": 1}]}, "[]", [{"id": 1, "tags": 1}]]
)
def test_another_api_is_one_line(api: StandInApi, answer: object) -> None:
    """JSON that is not Datadog's is one line."""
    api.fault = lambda method, path: (200, answer)
    check_refused(run(api.url), "what answers is not Datadog's API; check DD_SITE")


def test_nobody_there_is_one_line() -> None:
    """A port without a listener is one line."""
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
    """The line has the missing setting, or the allowed values."""
    done = run("http://127.0.0.1:9", **variables)  # type: ignore[arg-type]  # no value is a folder
    check_refused(done, said)


def test_two_of_one_kind_are_not_guessed_at(filled: StandInApi) -> None:
    """A cloned monitor is reported, because either could be ours."""
    filled.monitors[1] = next(iter(filled.monitors.values())) | {"id": 1}
    check_refused(run(filled.url), "there are 2 (monitor/1000, monitor/1); delete all but one")
    assert filled.writes == []


def test_a_type_that_cannot_be_changed_is_told(filled: StandInApi) -> None:
    """A changed type is reported before any change."""
    for monitor in filled.monitors.values():
        monitor["type"] = "log alert"
    check_refused(run(filled.url), "its type can't be changed; delete it first")
    assert filled.writes == []


def test_a_monitor_that_datadog_finds_wrong_changes_nothing(api: StandInApi, folder: Path) -> None:
    """All monitors are validated before the first is created."""
    path = folder / "monitors" / "saturated_workers.json"
    path.write_text(path.read_text().replace('"notify_audit": false', '"notify_audit": 1'))
    check_refused(run(api.url, folder=folder), "POST monitor/validate: 400", "notify_audit")
    assert api.writes == []


def test_tags_of_others_that_are_no_texts_are_passed_over(filled: StandInApi) -> None:
    """Monitors of others may have any tags."""
    api_monitors = [{"id": 1, "tags": [1, None]}, *filled.monitors.values()]
    filled.fault = lambda method, path: (
        (200, api_monitors) if (method, path) == ("GET", "monitor") else None
    )
    assert run(filled.url).stdout == f"0 created, 0 changed, {ALL} unchanged\n"


def test_tags_in_a_file_that_are_no_texts_are_one_line(api: StandInApi, folder: Path) -> None:
    """The line names the file with a bad tag."""
    path = folder / "monitors" / "no_data.json"
    path.write_text(path.read_text().replace('"integration:gunicorn",', "1,"))
    check_refused(run(api.url, folder=folder), str(path), "its tags are to be texts")
    assert api.requests == []


@pytest.mark.parametrize("file", ["monitors/no_data.json", "dashboard.json", "metadata.csv"])
def test_a_file_that_is_not_right_is_one_line(api: StandInApi, folder: Path, file: str) -> None:
    """The line names the bad file, and the API gets no request."""
    (folder / file).write_text("{}" if file.endswith("json") else "a\n1\n")
    check_refused(run(api.url, folder=folder), str(folder / file))
    assert api.requests == []
