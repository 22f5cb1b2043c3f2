"""What is added to ``os.fork()`` in a real arbiter, each time that it replaces a worker."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.servers import WITH, WITHOUT, all_are_up, running
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import differences, in_turns, interval_of_median, median, target
from tests.lab.server import Server
from tests.lab.waiting import wait_for

FORKS, QUICK_FORKS = 120, 10
WORKERS = 4
TARGET_US = 200.0

# gunicorn forks by this name; what is registered for forks runs within it.
TIMED = """
import os, time
_fork = os.fork
def _timed():
    began_ns = time.perf_counter_ns()
    pid = _fork()
    took_ns = time.perf_counter_ns() - began_ns
    if pid:
        with open({log!r}, "a") as log:
            log.write(f"{{took_ns}}\\n")
    return pid
os.fork = _timed
"""

TEXT = f"""\
How long `os.fork()` takes in a real arbiter with {WORKERS} workers, one of which is killed each
time: with us and without, in turns, a new moment of our thread's interval each time."""


def tables(quick: bool) -> list[Table]:
    """Measure forks in turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        cases = {}
        for name, config in (("without", WITHOUT), ("with", WITH)):
            log = folder / name
            timed = TIMED.format(log=str(log)) + config
            server = stack.enter_context(running(timed, workers=WORKERS))
            cases[name] = partial(_fork_us, server, log)
        us = in_turns(cases, QUICK_FORKS if quick else FORKS)
    added = differences(us["with"], us["without"])
    low, high = interval_of_median(added)
    note = f"95 %: {low:.0f} to {high:.0f}; {target(median(added), TARGET_US, 'us')}"
    rows = [
        row("without us", "us", us["without"]),
        row("with us", "us", us["with"]),
        row("added", "us", added, note=note),
    ]
    return [Table("A fork of the arbiter's", TEXT, rows)]


def _fork_us(server: Server, log: Path) -> float:
    """Kill a worker, and return how long the fork of the next took."""
    seen = len(log.read_text().splitlines())
    os.kill(min(server.worker_pids()), signal.SIGKILL)
    wait_for("a fork", lambda: len(log.read_text().splitlines()) > seen)
    wait_for("its worker", lambda: all_are_up(server, WORKERS))
    return int(log.read_text().splitlines()[seen]) / 1000
