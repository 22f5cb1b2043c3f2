"""Where the output goes: to a reader that has had enough, and to a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.gunicorns import Gunicorn
from tests.lab.looking import COMMAND, environment


@pytest.mark.parametrize("command", ["status", "status --json", "top", "check"])
def test_a_reader_that_has_gone(command: str, newest: Gunicorn, serve: ServerFactory) -> None:
    """As of ``status | head -0``: it ends, without a word."""
    server = serve(newest).wait_until_it_serves()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *command.split(), str(server.pid)],
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_colour_makes_no_terminal(
    variable: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Keys may be pressed, but the output is a file: one frame, and the end."""
    server = serve(newest).wait_until_it_serves()
    keyboard, terminal = os.openpty()
    path = tmp_path / "frame"
    with path.open("wb") as file:
        done = subprocess.run(
            [*COMMAND, "top", str(server.pid), "--seconds", "0.3"],
            env=environment() | {variable: "1", "TERM": "xterm"},
            stdin=terminal,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=40,
            check=False,
        )
    os.close(keyboard)
    os.close(terminal)
    assert (done.returncode, done.stderr) == (0, "")
    frame = path.read_text()
    assert frame.count("utilization") == 1
    assert "q quit" not in frame
    assert "\x1b[?1049h" not in frame  # the alternate screen
