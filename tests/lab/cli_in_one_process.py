"""Several commands ``gunicorn-backlog``, one after the other in one process, in a given place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.lab.cli_command import Done, environment

PROGRAM = """
import json, os, sys
from tests.lab.cli_in_process import run_here
environ = dict(os.environ)
json.dump([run_here(*command, environ=environ) for command in json.loads(sys.argv[1])], sys.stdout)
"""


def run_each(
    commands: Sequence[Sequence[str]],
    *,
    run_by: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    first: str = "",
) -> list[Done]:
    """Run each command to its end.

    :param run_by: a command that executes the process, for example nsenter.
    :param first: Python statements that run before the package is imported.
    """
    done = subprocess.run(
        [*run_by, sys.executable, "-c", first + PROGRAM, json.dumps(commands)],
        env=environment() | dict(environ or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [Done(*each) for each in json.loads(done.stdout)]
