"""The objects of the folder, and the errors for faulty files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wanted import wanted

from tests.datadog.applying import check_refused, run
from tests.datadog.standin_api import StandInApi


def refused(folder: Path, said: str, *notify: str) -> None:
    """Assert that the folder is refused by one short line with this text."""
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        wanted(folder, notify)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change the definition in a monitor's file."""
    monitor = json.loads(path.read_text())
    how(monitor["definition"])
    path.write_text(json.dumps(monitor))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda monitor: monitor.pop("message"), "not a monitor: KeyError('message')"),
        (lambda monitor: monitor.pop("options"), "not a monitor: KeyError('options')"),
        (
            lambda monitor: monitor["options"].pop("thresholds"),
            "not a monitor: KeyError('thresholds')",
        ),
        (lambda monitor: monitor.update(name=5), "name, type, query, message are to be texts"),
        (
            lambda monitor: monitor["options"].update(thresholds=5),
            "name, type, query, message are to be texts, and thresholds an object",
        ),
    ],
)
def test_a_monitor_that_is_not_whole_is_told(
    folder: Path, how: Callable[[dict[str, Any]], object], said: str
) -> None:
    """The error has the file and the missing part, also with handles to add."""
    path = folder / "monitors" / "no_data.json"
    change(path, how)
    refused(folder, f"{path}: {said}", "@x")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gunicorn.workers,gauge,10,", "gunicorn.workers,gauge,ten,", "interval is 'ten'; allowed"),
        ("gunicorn.workers,gauge,10,.*", "gunicorn.workers,gauge", "as many fields are needed"),
        ("gunicorn.workers,gauge,10,(.*)", r"gunicorn.workers,gauge,10,\1,x", "as many fields are"),
        ("gunicorn.threads,", f"gunicorn.threads{'x' * 140_000},", "field larger than field limit"),
        ("gunicorn.threads,", "gunicorn.workers,", "gunicorn.workers is there twice"),
    ],
    ids=["interval", "too few", "too many", "too long", "twice"],
)
def test_a_row_of_metadata_that_is_not_right_is_told(
    folder: Path, old: str, new: str, said: str
) -> None:
    """The error has file and line."""
    path = folder / "metadata.csv"
    text, changes = re.subn(rf"^{old}", new, path.read_text(), flags=re.MULTILINE)
    assert changes == 1
    before = path.read_text().splitlines()
    path.write_text(text)
    lines = zip(before, text.splitlines(), strict=True)
    (line,) = [number for number, (was, now) in enumerate(lines, start=1) if was != now]
    refused(folder, f"{path}, line {line}: {said}")


@pytest.mark.parametrize("name", ["monitors/no_data.json", "dashboard.json", "metadata.csv"])
def test_a_file_that_is_not_utf_8_is_told(folder: Path, name: str) -> None:
    """The error does not contain the whole file."""
    (folder / name).write_bytes((folder / name).read_bytes().replace(b"orkers", b"\xe9rkers"))
    refused(folder, f"{folder / name}: 'utf-8' codec can't decode byte 0xe9")


def test_two_files_with_one_tag_are_refused(api: StandInApi, folder: Path) -> None:
    """A copied file with an unchanged tag would create two monitors, and fail the next run."""
    copy = folder / "monitors" / "twin.json"
    copy.write_text((folder / "monitors" / "no_data.json").read_text())
    told = f"{copy}: its tag gunicorn_backlog:no-data is that of no_data.json, too"
    check_refused(run(api.url, folder=folder), told)
    assert api.requests == []


def test_a_folder_without_monitors_is_refused(folder: Path) -> None:
    """An empty folder is probably an incomplete copy."""
    for path in folder.glob("monitors/*.json"):
        path.unlink()
    refused(folder, f"{folder / 'monitors'}: there is no monitor")


def test_handles_are_checked(folder: Path) -> None:
    """An empty handle, as of an unset variable, and an invalid one are refused."""
    for handles in ("", " ", "slack-ops", "@slack-ops me", "@", "@a\n@b"):
        refused(folder, f"--notify is {handles!r}; allowed: a handle such as @slack-ops", handles)
    made = wanted(folder, ["@slack-ops @me", "@you"])[0]
    assert made.body["message"].endswith("\n\n@slack-ops @me @you")
