"""What is added to gunicorn's start: the import in its config, and the time until it serves."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.servers import ONLY_CLIENT, ONLY_MODULES, WITH, WITHOUT, compiled
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import differences, in_turns, interval_of_median, median, target
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import cpu_ns, threads
from tests.lab.server import Server

ROUNDS, QUICK_ROUNDS = 21, 3
LOOK_EVERY_S = 0.001
DEADLINE_S = 20.0
TARGET_MS = 30.0
ADDED = {"only the client": ONLY_CLIENT, "only our modules": ONLY_MODULES, "us": WITH}
ROOT = Path(__file__).parents[2]

TIME_IMPORT = """
import time
import gunicorn.app.wsgiapp, gunicorn.arbiter, gunicorn.workers.sync
began_ns = time.perf_counter_ns()
import gunicorn_backlog.hooks
print((time.perf_counter_ns() - began_ns) / 1e6)
"""

TEXT = """\
The import of the hooks, without gunicorn's own: the first one (nothing is compiled yet) and later
ones. Then the time of a gunicorn with one sync worker from the command to its first response:
`when_ready` imports our other modules and `datadog` before the first worker is forked. Modules are
compiled, as `pip` installs them: a source tree that Python must not write to is compiled at each
start, which takes longer than all else. The floors: "only the client" imports Datadog's client, as
ours does, and "only our modules" also all of ours, of which nothing is used. The CPU time is that
of the arbiter and of its worker until the response. The interval is that of the pairs' median, with
95 %."""


class Boot(NamedTuple):
    """The time until the first response, in ms."""

    time: float
    CPU: float


def tables(quick: bool) -> list[Table]:
    """Measure in turns."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with compiled() as environ:
        imports = {
            "import, first ever": partial(_import_ms, environ, first_ever=True),
            "import, afterwards": partial(_import_ms, environ, first_ever=False),
        }
        boots = {
            "without us": partial(_boot, WITHOUT, environ),
            **{f"with {name}": partial(_boot, ADDED[name], environ) for name in ADDED},
        }
        in_turns(imports, 1)
        in_turns(boots, 1)
        rows = [row(name, "ms", ms) for name, ms in in_turns(imports, rounds).items()]
        found = in_turns(boots, rounds)
    for part in Boot._fields:
        ms = {name: [getattr(boot, part) for boot in found[name]] for name in boots}
        rows += [row(f"boot, {part}, {name}", "ms", ms[name]) for name in boots]
        rows += [
            _added(part, name, differences(ms[f"with {name}"], ms["without us"])) for name in ADDED
        ]
    return [Table("gunicorn's start", TEXT, rows)]


def _added(part: str, name: str, ms: Sequence[float]) -> Row:
    low, high = interval_of_median(ms)
    note = f"95 %: {low:.1f} to {high:.1f}"
    if name == "us":
        note += f"; {target(median(ms), TARGET_MS, 'ms')}"
    return row(f"boot, {part}, added by {name}", "ms", ms, note=note)


def _cpu_ms(pids: Collection[int]) -> float:
    return sum(cpu_ns(pid, thread) for pid in pids for thread in threads(pid)) / 1e6


def _import_ms(compiled_into: Mapping[str, str], *, first_ever: bool) -> float:
    """Import the hooks in a fresh interpreter, with or without their compiled files."""
    with tempfile.TemporaryDirectory() as empty:
        program = TIME_IMPORT
        if first_ever:  # gunicorn's own are compiled: they were imported before
            hide = f"import sys; sys.pycache_prefix = {empty!r}\n"
            program = TIME_IMPORT.replace("began_ns =", hide + "began_ns =", 1)
        environ = os.environ | {"PYTHONPATH": str(ROOT), **compiled_into}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _boot(config: str, environ: Mapping[str, str]) -> Boot:
    """Return how long a gunicorn takes until it answers."""
    gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
    environ = {"GUNICORN_BACKLOG_URL": "udp://127.0.0.1:9", **environ}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(gunicorn, Path(folder), config=config, workers=1, environ=environ)
        began_s = time.monotonic()
        with server:
            while time.monotonic() - began_s < DEADLINE_S:
                with suppress(OSError):
                    server.get()
                    wall_ms = 1000 * (time.monotonic() - began_s)
                    return Boot(wall_ms, _cpu_ms({server.pid, *server.worker_pids()}))
                time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"it did not serve: {server.log}")
