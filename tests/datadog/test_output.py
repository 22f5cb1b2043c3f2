"""The output of apply.py, for any destination; completed changes stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.datadog.applying import ALL, METRICS, OBJECTS, environment, run
from tests.datadog.files import FOLDER
from tests.datadog.standin_api import StandInApi


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_letters_that_a_terminal_has_not_are_written_as_their_codes(
    filled: StandInApi, folder: Path, variables: dict[str, str]
) -> None:
    """Missing letters are escaped, and files are read as UTF-8 in any locale."""
    path = folder / "monitors" / "no_data.json"
    text = path.read_text().replace('"message": "', '"message": "→ 🔥 ')
    path.write_text(text)
    done = run(filled.url, folder=folder, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2192 \\U0001f525 " in done.stdout
    assert done.stdout.endswith(f"0 created, 1 changed, {ALL - 1} unchanged\n")
    (changed,) = [
        monitor
        for monitor in filled.monitors.values()
        if "gunicorn_backlog:no-data" in monitor["tags"]
    ]
    assert changed["message"].startswith("→ 🔥 ")


def test_a_reader_that_leaves_does_not_matter(api: StandInApi) -> None:
    """With ``| head -1`` all objects are created, without a traceback."""
    command = 'python="$1"; ("$python" "$2"; echo "code $?" >&2) | head -1'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, str(FOLDER / "apply.py")],
        env=environment(api.url) | {"PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == "code 0\n"
    assert done.stdout.startswith("create monitor")
    assert len(api.monitors) + len(api.dashboards) == OBJECTS
    assert (
        sum(metadata["unit"] is not None for metadata in api.metrics.values()) == METRICS - 1
    )  # .count
