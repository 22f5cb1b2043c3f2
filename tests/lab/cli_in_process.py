"""The command ``gunicorn-backlog`` in the test's own process, where the process proves nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any
from unittest.mock import patch

from gunicorn_backlog.cli.main import main
from tests.lab.cli_command import Done, environment


def run_here(*arguments: str, environ: Mapping[str, str] | None = None) -> Done:
    """Run the command to its end, with these variables and without other settings of ours."""
    variables = environment() | dict(environ or {})
    with (
        patch.dict(os.environ, variables, clear=True),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        try:
            code = main(arguments)
        except SystemExit as wrong:  # argparse raises it for a wrong argument
            code = int(wrong.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def status_here(pid: int, *, seconds: float = 0.3) -> dict[str, Any]:
    """Return the report of ``status --json`` about a server."""
    done = run_here("status", str(pid), "--json", "--seconds", str(seconds))
    assert done.code == 0, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def workers_of(pid: int) -> list[dict[str, Any]] | None:
    """Return the workers of ``status --json``; None before the server can be inspected."""
    done = run_here("status", str(pid), "--json", "--seconds", "0.1")
    if done.code != 0:
        return None
    workers: list[dict[str, Any]] = json.loads(done.out)["workers"]
    return workers
