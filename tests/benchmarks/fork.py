"""Benchmark of ``os.fork()`` in a real arbiter that replaces killed workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.servers import WITH, WITHOUT, all_are_up, running
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import differences, in_turns, interval_of_median, median, target
from tests.lab.waiting import wait_for

TURNS, QUICK_TURNS = 60, 2
FORKS = 8  # per server
WORKERS = 4
TARGET_US = 200.0
CASES = {"without us": WITHOUT, "without us, again": WITHOUT, "with us": WITH}

# gunicorn calls os.fork, which runs the registered handlers. The handlers below are registered
# before ours: before the fork they run after ours, and after the fork before ours.
TIMED = """
import os, time
_ns = {{}}
def _note(name):
    _ns[name] = time.perf_counter_ns()
os.register_at_fork(before=lambda: _note("forks"), after_in_parent=lambda: _note("forked"))
_fork = os.fork
def _timed():
    _note("begins")
    pid = _fork()
    _note("ends")
    if pid:
        with open({log!r}, "a") as log:
            around = _ns["forks"] - _ns["begins"] + _ns["ends"] - _ns["forked"]
            log.write(f"{{_ns['ends'] - _ns['begins']}} {{around}}\\n")
    return pid
os.fork = _timed
"""

TEXT = f"""\
Duration of `os.fork()` in a real arbiter with {WORKERS} workers, one of which is killed each time.
Each case starts a server of its own in each turn, and counts with the median of {FORKS} forks:
the place of a process in memory changes the duration by more than our handlers do. "Around the
fork" is the time in our fork handlers, those registered since the config was read. A fork also
takes longer with each page of the process."""


def tables(quick: bool) -> list[Table]:
    """Return the durations of forks, measured in turns."""
    cases = {name: partial(_forks_us, config) for name, config in CASES.items()}
    found = in_turns(cases, QUICK_TURNS if quick else TURNS)
    whole, around = ({name: [us[part] for us in found[name]] for name in CASES} for part in (0, 1))
    rows = [row(name, "us", whole[name]) for name in CASES]
    rows += [
        _added("without us, again: added", whole, "without us, again"),
        _added("with us: added", whole, "with us", TARGET_US),
        _added("with us: added around the fork", around, "with us"),
    ]
    return [Table("A fork of the arbiter", TEXT, rows)]


def _added(
    name: str, us: Mapping[str, Sequence[float]], case: str, limit_us: float | None = None
) -> Row:
    added = differences(us[case], us["without us"])
    low, high = interval_of_median(added)
    note = f"95 %: {low:.0f} to {high:.0f}"
    if limit_us is not None:
        note += f"; {target(median(added), limit_us, 'us')}"
    return row(name, "us", added, note=note)


def _forks_us(config: str) -> tuple[float, float]:
    """Return the durations of a server's forks and of its fork handlers, medians in us."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "forks"
        with running(TIMED.format(log=str(log)) + config, workers=WORKERS) as server:
            booted = len(log.read_text().splitlines())
            for number in range(FORKS):
                os.kill(min(server.worker_pids()), signal.SIGKILL)
                seen = booted + number
                wait_for("a fork", lambda: len(log.read_text().splitlines()) > seen)  # noqa: B023
                wait_for("the new worker", lambda: all_are_up(server, WORKERS))
        forks = [line.split() for line in log.read_text().splitlines()[booted:]]
    return median([int(ns) / 1000 for ns, _ in forks]), median([int(ns) / 1000 for _, ns in forks])
