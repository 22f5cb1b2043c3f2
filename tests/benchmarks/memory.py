"""The memory of a real arbiter and of its workers: their proportional set size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.servers import ONLY_CLIENT, ONLY_MODULES, WITH, WITHOUT, compiled, running
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import differences, in_turns

ROUNDS, QUICK_ROUNDS = 9, 2
WORKERS = 4
SETTLE_S = 2.5  # two pushes, and some

# Each arbiter has one thread that sleeps, and sent something to nobody, as ours did.
ONLY_DATADOG = """
def when_ready(server):
    import threading
    from datadog.dogstatsd.base import DogStatsd
    DogStatsd(host="127.0.0.1", port=9, disable_telemetry=True).gauge("a", 1)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
CONFIGS = {
    "without us": WITHOUT,
    "with only `datadog`": ONLY_DATADOG,
    "with only its client": ONLY_CLIENT,
    "with only our modules": ONLY_MODULES,
    "with us": WITH,
}

TEXT = f"""\
Proportional set size (`Pss` of `smaps_rollup`): a page shared by n processes counts 1/n in each.
{WORKERS} sync workers, of which one has served one request. "With only `datadog`" imports the
package, creates a client, and has a sleeping thread; "with only its client" imports that module
alone, as ours does. "With only our modules" also imports all of ours, and uses none of them. The
last rows are of arbiter and workers together. Modules are compiled."""


class Megabytes(NamedTuple):
    """The proportional set size of the arbiter, of a worker, and of all of them."""

    arbiter: float
    worker: float
    all: float


def tables(quick: bool) -> list[Table]:
    """Start servers in turns."""
    with compiled() as environ:
        cases = {name: partial(_server_mb, config, environ) for name, config in CONFIGS.items()}
        for warm_up in cases.values():
            warm_up()
        found = in_turns(cases, QUICK_ROUNDS if quick else ROUNDS)
    rows = []
    for part in Megabytes._fields:
        for name, sizes in found.items():
            rows.append(row(f"{part}, {name}", "MB", [getattr(it, part) for it in sizes]))
    without = [it.all for it in found["without us"]]
    for name in ("only its client", "only our modules", "us"):
        added = differences([it.all for it in found[f"with {name}"]], without)
        rows.append(row(f"all, added by {name}", "MB", added))
    return [Table("Memory", TEXT, rows)]


def _server_mb(config: str, environ: Mapping[str, str]) -> Megabytes:
    with running(config, workers=WORKERS, environ=environ) as server:
        time.sleep(SETTLE_S)
        workers = [_pss_mb(pid) for pid in server.worker_pids()]
        arbiter = _pss_mb(server.pid)
    return Megabytes(arbiter, statistics.median(workers), arbiter + sum(workers))


def _pss_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (pss,) = [line for line in rollup if line.startswith("Pss:")]
    return int(pss.split()[1]) / 1024
