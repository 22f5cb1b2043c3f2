"""Benchmark of gunicorn's start: the import of the hooks, and the time to the first response."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.servers import WITH, WITHOUT
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import differences, in_turns
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import Server

ROUNDS, QUICK_ROUNDS = 21, 3
LOOK_EVERY_S = 0.001
DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]

TIME_IMPORT = """
import time
import gunicorn.app.wsgiapp, gunicorn.arbiter, gunicorn.workers.sync
began_ns = time.perf_counter_ns()
import gunicorn_backlog.hooks
print((time.perf_counter_ns() - began_ns) / 1e6)
"""

TEXT = """\
The import of the hooks, without gunicorn's modules: the first one (nothing is compiled yet) and
later ones. Then the time of a gunicorn with one sync worker from the command to its first
response: `when_ready` imports our other modules and `datadog` before the first fork."""


def tables(quick: bool) -> list[Table]:
    """Return the times of the import and of the start, measured in turns."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    imports = {
        "import, first ever": partial(_import_ms, first_ever=True),
        "import, afterwards": partial(_import_ms, first_ever=False),
    }
    boots = {
        "boot without us": partial(_boot_ms, WITHOUT),
        "boot with us": partial(_boot_ms, WITH),
    }
    ms = in_turns(imports, rounds) | in_turns(boots, rounds)
    rows = [row(name, "ms", values) for name, values in ms.items()]
    added = differences(ms["boot with us"], ms["boot without us"])
    return [Table("gunicorn's start", TEXT, [*rows, row("boot, added by us", "ms", added)])]


def _import_ms(*, first_ever: bool) -> float:
    """Return the time of an import of the hooks, in a fresh interpreter.

    ``first_ever``: without compiled files of ours.
    """
    with tempfile.TemporaryDirectory() as empty:
        program = TIME_IMPORT
        if first_ever:  # gunicorn's modules are compiled: the program imports them before
            hide = f"import sys; sys.pycache_prefix = {empty!r}\n"
            program = TIME_IMPORT.replace("began_ns =", hide + "began_ns =", 1)
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _boot_ms(config: str) -> float:
    """Return the time from the command of a gunicorn to its first response."""
    gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
    environ = {"GUNICORN_BACKLOG_URL": "udp://127.0.0.1:9"}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(gunicorn, Path(folder), config=config, workers=1, environ=environ)
        began_s = time.monotonic()
        with server:
            while time.monotonic() - began_s < DEADLINE_S:
                with suppress(OSError):
                    server.get()
                    return 1000 * (time.monotonic() - began_s)
                time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"gunicorn did not serve: {server.log}")
