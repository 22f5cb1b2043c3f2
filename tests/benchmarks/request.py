"""Benchmark of the time added to a request, per family: begin and end, and the wait."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import differences, in_turns, median, target

ROUNDS, QUICK_ROUNDS = 11, 3
VALUES = 3  # per round
VALUE_S = 0.04
EMPTY, BARE = "two empty calls", "getsockopt(TCP_INFO)"
WATCHED_TARGETS = {"sync": 0.7, "gthread": 1.4}
WAIT_TARGET = 1.3
FAMILIES = ("sync", "gthread", "gevent", "asgi", "tornado")
TELLING = ("sync", "gthread", "gevent")

FLOORS = {
    "floor": "read and not kept, for gunicorn's own arguments only",
    "kept": "read and kept, for gunicorn's own arguments only, minding no error",
}

TEXT = """\
gunicorn's methods do nothing here. The figures are differences between instrumented and plain
methods, round by round. Each case runs in processes of its own, in turns, with loops that pyperf
calibrated. `gevent` includes eventlet, `tornado` any server with a wrapped app, and `gthread` the
queue before its threads. The last two rows are floors: the system call and its decoder at the
place of the wait's measurement, where both take longer than alone in a loop. The wait's wrapper
also accepts any arguments, since a user's own worker may pass others."""


def tables(quick: bool) -> list[Table]:
    """Return the added times, measured in turns."""
    from tests.benchmarks.request_case import CASES

    with tempfile.TemporaryDirectory() as folder:
        cases = {name: partial(_ns, name, _loops(name, Path(folder))) for name in CASES}
        ns = in_turns(
            {name: partial(case, Path(folder)) for name, case in cases.items()},
            QUICK_ROUNDS if quick else ROUNDS,
        )
    return [_table(ns)]


def _table(ns: Mapping[str, list[float]]) -> Table:
    bare = median(ns[BARE])
    rows = [row(name, "ns", ns[name], beside=bare) for name in (EMPTY, BARE)]
    for family in FAMILIES:
        watched = differences(ns[f"{family}, begin and end"], ns[family])
        limit = WATCHED_TARGETS.get(family)
        rows.append(_row(f"{family}: begin and end add", watched, bare, limit))
        if family in TELLING:
            wait = differences(ns[f"{family}, the wait"], ns[f"{family}, begin and end"])
            rows.append(_row(f"{family}: the wait adds", wait, bare, WAIT_TARGET))
    for case, name in FLOORS.items():
        floor = differences(ns[f"sync, {case}"], ns["sync, begin and end"])
        rows.append(_row(f"the wait of sync, {name}", floor, bare, None))
    return Table("A request", TEXT, rows, beside="beside getsockopt")


def _row(name: str, values: list[float], bare: float, limit: float | None) -> Row:
    note = "" if limit is None else target(median(values) / bare, limit)
    return row(name, "ns", values, beside=bare, note=note)


def _loops(case: str, folder: Path) -> int:
    """Return the number of loops that takes VALUE_S, calibrated by pyperf."""
    found = _run(case, folder, "--calibrate-loops", "--warmups", "0", "--min-time", str(VALUE_S))
    loops, _ = found.get_runs()[0].warmups[-1]
    return int(loops)


def _ns(case: str, loops: int, folder: Path) -> float:
    """Return the nanoseconds of one request, in a fresh process, after a warm-up."""
    found = _run(case, folder, "--loops", str(loops), "--warmups", "1", "--values", str(VALUES))
    return median(found.get_values()) * 1e9


def _run(case: str, folder: Path, *arguments: str) -> Any:
    import pyperf

    output = folder / "values.json"
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.benchmarks.request_case", case, "--worker", "--quiet"]
    subprocess.run(
        [*command, *arguments, "--output", str(output)], stdout=subprocess.DEVNULL, check=True
    )
    return pyperf.Benchmark.load(str(output))
