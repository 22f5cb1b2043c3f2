"""The command ``gunicorn-backlog`` in the test's own process, where the process proves nothing."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from gunicorn_backlog.cli.main import main
from tests.lab.cli_command import Done


def run_here(*arguments: str) -> Done:
    """Run the command to its end."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main(arguments)
    return Done(code, out.getvalue(), err.getvalue())


def workers_of(pid: int) -> list[dict[str, Any]] | None:
    """Return the workers of ``status --json``; None before the server can be inspected."""
    done = run_here("status", str(pid), "--json", "--seconds", "0.1")
    if done.code != 0:
        return None
    workers: list[dict[str, Any]] = json.loads(done.out)["workers"]
    return workers
