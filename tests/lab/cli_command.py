"""The command ``gunicorn-backlog`` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "gunicorn_backlog")
_OURS = ("GUNICORN_", "DD_", "DATADOG_", "COLUMNS", "LINES", "NO_COLOR")


class Done(NamedTuple):
    """The exit code and the output of a run."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The output by lines."""
        return self.out.splitlines()


def run_cli(
    *arguments: str, run_by: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> Done:
    """Run the command to its end."""
    command = [*run_by, *COMMAND, *arguments]
    variables = environment() | dict(environ or {})
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    return Done(done.returncode, done.stdout, done.stderr)


def status(pid: int, *, run_by: tuple[str, ...] = (), seconds: float = 0.3) -> dict[str, Any]:
    """Return the report of ``status --json`` about a server."""
    done = run_cli("status", str(pid), "--json", "--seconds", str(seconds), run_by=run_by)
    assert done.code == 0, done
    found: dict[str, Any] = json.loads(done.out)
    return found


def environment() -> dict[str, str]:
    """Return our environment without the package's settings and the terminal's size."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {"PYTHONPATH": str(ROOT)}
