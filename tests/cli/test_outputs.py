"""Outputs of the commands: a closed pipe, a file, a full disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import ServerFactory
from tests.lab.cli_command import COMMAND, environment
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn


def test_a_reader_that_has_gone(newest: Gunicorn, serve: ServerFactory) -> None:
    """With a closed pipe, as by ``status | head -0``, the command ends without a message."""
    server = serve(newest, workers=1).wait_until_it_serves()
    for command in ("status", "status --json", "top", "check"):
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
        assert (command, done.returncode, done.stderr) == (command, 1, "")


def test_a_colour_makes_no_terminal(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """If the output is a file, ``top`` prints one frame, even if keys can be pressed."""
    server = serve(newest, workers=1).wait_until_it_serves()
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        frame = drawn(server.pid, tmp_path / variable, {variable: "1", "TERM": "xterm"})
        assert frame.count("utilization") == 1
        assert "q quit" not in frame
        assert "\x1b[?1049h" not in frame  # the alternate screen


def drawn(pid: int, path: Path, variables: dict[str, str]) -> str:
    """Return the output of ``top`` to a path, with a terminal as input."""
    keyboard, terminal = os.openpty()
    with path.open("wb") as file:
        done = subprocess.run(
            [*COMMAND, "top", str(pid), "--seconds", "0.3"],
            env=environment() | variables,
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
    return path.read_text()


def test_what_is_closed_or_full(newest: Gunicorn, serve: ServerFactory) -> None:
    """A closed stream gets no output; a full disk is one line."""
    server = serve(newest, workers=1).wait_until_it_serves()
    for arguments in ("status", "check"):
        assert run(arguments, server.pid, ">&-").stderr == ""
        full = run(arguments, server.pid, ">/dev/full")
        line = "gunicorn-backlog: [Errno 28] No space left on device\n"
        assert (full.returncode, full.stderr) == (1, line)
    without_input = run("top --seconds 0.1", server.pid, "<&-")
    assert (without_input.returncode, without_input.stderr) == (0, "")
    assert without_input.stdout.count("utilization") == 1
    wrong = run_here("status", str(server.pid), "--seconds", "abc")
    assert "argument --seconds: abc is not from 0.1 to 60" in wrong.err


def run(arguments: str, pid: int, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell that redirects one of the streams."""
    script = f'exec "$@" {redirection}'
    command = ["sh", "-c", script, "sh", *COMMAND, *arguments.split(), str(pid)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
