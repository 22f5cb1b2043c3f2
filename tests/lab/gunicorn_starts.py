"""Starts of gunicorn that fail: one process imports gunicorn and us, and forks for each start.

Most of a failed start is imports. Each fork runs gunicorn's command to its end, as
``bin/gunicorn`` does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.gunicorn_versions import Gunicorn

LONGEST_S = 60  # of one start
# Reads the starts as JSON from stdin, and prints an exit code for each.
PROGRAM = f"""
import json, os, signal, sys
import gunicorn_backlog.config.settings  # the hooks check the environment on import
from gunicorn.app.wsgiapp import run

def start(arguments, environ, log):
    signal.alarm({LONGEST_S})
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.update(environ)
    sys.argv = ["gunicorn", *arguments]
    sys.exit(run())

for each in json.load(sys.stdin):
    pid = os.fork()
    if pid == 0:
        start(*each)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Start:
    """The text of a config file (None: there is none), gunicorn's arguments, and variables."""

    config: str | None
    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a start."""

    code: int
    log: str

    @property
    def lines(self) -> list[str]:
        """The output by lines."""
        return self.log.splitlines()


def run_starts(gunicorn: Gunicorn, folder: Path, starts: Sequence[Start]) -> list[Ended]:
    """Run the starts one after the other, each to its end, with one worker."""
    logs = [folder / f"start-{number}.log" for number in range(len(starts))]
    described = [
        (_arguments(gunicorn, start, log.with_suffix(".conf.py")), dict(start.environ), str(log))
        for start, log in zip(starts, logs, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(described),
        env=gunicorn.environ(HOME=str(folder)),
        capture_output=True,
        text=True,
        check=True,
    )
    codes = map(int, done.stdout.split())
    return [Ended(code, log.read_text()) for code, log in zip(codes, logs, strict=True)]


def _arguments(gunicorn: Gunicorn, start: Start, config: Path) -> list[str]:
    arguments = ["--bind", "127.0.0.1:0", "--workers", "1", *start.arguments]
    if gunicorn.has_control_socket:
        arguments += ["--no-control-socket"]
    if start.config is not None:
        config.write_text(start.config)
        arguments += ["--config", str(config)]
    return [*arguments, "tests.lab.wsgi_app:app"]
