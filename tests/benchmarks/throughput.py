"""Benchmark of requests per second with us and without, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from tests.benchmarks import wrk
from tests.benchmarks.servers import WITH, WITHOUT, running
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import in_turns, interval_of_median, median, ratios, target
from tests.lab.procfs import cpu_ns, threads

PAIRS, QUICK_PAIRS = 15, 3
SECONDS, QUICK_SECONDS = 2, 1
WARM_UP_S = 1
CLASSES: dict[str, tuple[str, ...]] = {"sync": (), "gthread": ("--threads", "4")}
# "again" equals "without": the difference between these two is the noise of the machine.
CONFIGS = {"without us": WITHOUT, "without us, again": WITHOUT, "with us": WITH}
PINNED = ("taskset", "-c", "0")  # the scheduler puts wrk on another core
TARGET_PERCENT = 1.0

TEXT = f"""\
`wrk` with {wrk.CONNECTIONS} connections for {SECONDS} s at a time, in turns; one worker with the
smallest app, and its arbiter, on one core. {PAIRS} turns; a pair is two servers in the same turn.
Each run starts a server of its own: processes differ by some percent, for example by their place
in memory. The processor time is that of all threads of the worker, per request."""


class Run(NamedTuple):
    """Throughput and processor time of one run."""

    rate: float  # requests per second
    cpu_us: float  # of the worker, per request


def tables(quick: bool) -> list[Table]:
    """Return throughput and processor time, class by class."""
    if not wrk.is_installed():
        raise RuntimeError("wrk is not installed (Debian: wrk)")
    pairs, seconds = (QUICK_PAIRS, QUICK_SECONDS) if quick else (PAIRS, SECONDS)
    rows = []
    for name, arguments in CLASSES.items():
        cases = {
            config: partial(_run, text, arguments, seconds) for config, text in CONFIGS.items()
        }
        rows += _rows(name, in_turns(cases, pairs))
    return [Table("Throughput", TEXT, rows)]


def _run(config: str, arguments: tuple[str, ...], seconds: int) -> Run:
    app = "tests.benchmarks.apps:smallest"
    with running(config, workers=1, arguments=arguments, run_by=PINNED, app=app) as server:
        wrk.requests_per_second(server, WARM_UP_S)
        (worker,) = server.worker_pids()
        before_ns = _cpu_ns(worker)
        rate = wrk.requests_per_second(server, seconds)
        return Run(rate, (_cpu_ns(worker) - before_ns) / 1000 / (rate * seconds))


def _cpu_ns(worker: int) -> int:
    return sum(cpu_ns(worker, thread) for thread in threads(worker))


def _rows(name: str, runs: Mapping[str, Sequence[Run]]) -> list[Row]:
    rates = {config: [run.rate for run in found] for config, found in runs.items()}
    cpu_us = {config: [run.cpu_us for run in found] for config, found in runs.items()}
    base = "without us"
    others = [config for config in runs if config != base]
    return [
        *(row(f"{name}, {config}", "requests/s", rates[config]) for config in runs),
        *(_pairs(f"{name}, {case}", rates[case], rates[base], lost=True) for case in others),
        *(row(f"{name}, {config}, a request", "us of CPU", cpu_us[config]) for config in runs),
        *(
            _pairs(f"{name}, {case}, a request", cpu_us[case], cpu_us[base], lost=False)
            for case in others
        ),
    ]


def _pairs(name: str, values: Sequence[float], base: Sequence[float], *, lost: bool) -> Row:
    """Return the increase over ``base`` in percent, pair by pair; the decrease if ``lost``."""
    percent = [100 * ((1 - ratio) if lost else (ratio - 1)) for ratio in ratios(values, base)]
    low, high = interval_of_median(percent)
    note = f"95 %: {low:+.2f} to {high:+.2f}"
    if lost and "again" not in name:
        note += f"; {target(median(percent), TARGET_PERCENT, '%')}"
    return row(f"{name}: {'less' if lost else 'more'} than without", "%", percent, note=note)
