"""Runs of apply.py by its command line."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.datadog.apply_runner import Order
from tests.datadog.files import FOLDER, MONITORS
from tests.datadog.standin_api import KEYS
from tests.lab.sandbox import ROOT
from tests.lab.waiting import DEADLINE_S

NAMES = [row.partition(",")[0] for row in (FOLDER / "metadata.csv").read_text().splitlines()[1:]]
METRICS = len(NAMES)
OBJECTS = len(MONITORS) + 1
ALL = OBJECTS + METRICS


def environment(url: str) -> dict[str, str]:
    """Return the variables of a run: without Datadog's and coverage's, with keys for an API."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("DD_", "DATADOG_", "COV"))
    }
    return inherited | {"DD_API_KEY": KEYS[0], "DD_APP_KEY": KEYS[1], "DATADOG_HOST": url}


def run(
    url: str, *arguments: str, folder: Path = FOLDER, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run apply.py against an API.

    :param variables: its environment's. Python reads some when it starts: with any, it is started.
    """
    command = [str(folder / "apply.py"), *arguments]
    if not variables:
        return run_in_fork(command, environment(url))
    return subprocess.run(
        [sys.executable, *command],
        env=environment(url) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_in_fork(
    command: list[str],
    environ: dict[str, str],
    meanwhile: Callable[[int], object] = lambda pid: None,
) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a fork of a process that has imported the ``datadog`` client.

    :param meanwhile: called with the program's pid while it runs.
    """
    runner = _runner()
    with TemporaryDirectory() as folder:
        output = [Path(folder) / "stdout", Path(folder) / "stderr"]
        order = Order(command=command, environ=environ, output=[str(path) for path in output])
        assert runner.stdin is not None
        assert runner.stdout is not None
        runner.stdin.write(json.dumps(order) + "\n")
        runner.stdin.flush()
        pid = int(runner.stdout.readline())
        killer = threading.Timer(DEADLINE_S, os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            meanwhile(pid)
        finally:
            code = int(runner.stdout.readline())
            killer.cancel()
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in output))


@cache
def _runner() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.datadog.apply_runner"]
    environ = environment("") | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    runner = subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, text=True)

    def stop() -> None:
        runner.communicate(timeout=60)

    atexit.register(stop)
    return runner


def check_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Assert that the run ended with one line that has these texts, and no key."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("apply: ")
    assert all(part in line for part in parts), line
    assert not any(key in line for key in KEYS)
