"""Benchmark of the memory of an arbiter and its workers: their proportional set size."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.servers import WITH, WITHOUT, running
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import differences, in_turns

ROUNDS, QUICK_ROUNDS = 9, 2
WORKERS = 4
SETTLE_S = 2.5  # two pushes and a margin

# Like our arbiter: one sleeping thread, one datagram to a port without a reader.
ONLY_DATADOG = """
def when_ready(server):
    import threading
    from datadog.dogstatsd.base import DogStatsd
    DogStatsd(host="127.0.0.1", port=9, disable_telemetry=True).gauge("a", 1)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
CONFIGS = {"without us": WITHOUT, "with only `datadog`": ONLY_DATADOG, "with us": WITH}

TEXT = f"""\
Proportional set size (`Pss` of `smaps_rollup`): a page shared by n processes counts 1/n in each.
{WORKERS} sync workers; one of them has served one request. "With only `datadog`" imports the
package, creates a client, and has a sleeping thread. The last row is the sum of arbiter and
workers."""


class Megabytes(NamedTuple):
    """Proportional set sizes: of the arbiter, of a worker (median), and of all processes."""

    arbiter: float
    worker: float
    all: float


def tables(quick: bool) -> list[Table]:
    """Return the memory of servers with each config, started in turns."""
    cases = {name: partial(_server_mb, config) for name, config in CONFIGS.items()}
    found = in_turns(cases, QUICK_ROUNDS if quick else ROUNDS)
    rows = []
    for part in Megabytes._fields:
        for name, sizes in found.items():
            rows.append(row(f"{part}, {name}", "MB", [getattr(it, part) for it in sizes]))
    with_us, without = ([it.all for it in found[name]] for name in ("with us", "without us"))
    rows.append(row("all, added by us", "MB", differences(with_us, without)))
    return [Table("Memory", TEXT, rows)]


def _server_mb(config: str) -> Megabytes:
    with running(config, workers=WORKERS) as server:
        time.sleep(SETTLE_S)
        workers = [_pss_mb(pid) for pid in server.worker_pids()]
        arbiter = _pss_mb(server.pid)
    return Megabytes(arbiter, statistics.median(workers), arbiter + sum(workers))


def _pss_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (pss,) = [line for line in rollup if line.startswith("Pss:")]
    return int(pss.split()[1]) / 1024
