"""Benchmark of bursts in the backlog: the share that each tool reports, and their height."""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.bursts import GAP_S, HEIGHTS, Burst, Lane
from tests.benchmarks.table import Row, Table, row
from tests.lab.gunicorn_versions import Gunicorn

LENGTHS_MS = (50, 100, 200, 500, 1000)
TOOLS = ("gunicorn_backlog", "gunicorn's own", "hand-written")
LANES = 10  # servers at the same time
OF_EACH = 20  # bursts per length and lane
QUICK_LANES, QUICK_OF_EACH = 4, 1
SEED = 7


def tables(quick: bool) -> list[Table]:
    """Cause bursts, and return the tables of their reports by tool."""
    lanes, of_each = (QUICK_LANES, QUICK_OF_EACH) if quick else (LANES, OF_EACH)
    bursts = run(lanes, of_each)
    text = (
        f"A worker is held at a request while {HEIGHTS[0]} to {HEIGHTS[1]} clients connect, and "
        f"released after the given time. {lanes * of_each} bursts of each length at random "
        f"moments (seed {SEED}), {GAP_S[0]:g} to {GAP_S[1]:g} s apart, at {lanes} servers. All "
        "tools measure every server at once. Ours, with its defaults, samples ten times a second "
        "and pushes once. gunicorn's own (`enable_backlog_metric`) reads and sends once a "
        "second. We chose the same rate for the hand-written one. gunicorn-prometheus-exporter, "
        "opentelemetry-instrumentation-gunicorn and judoscale send no backlog."
    )
    return [
        Table(
            "Burst visibility: share of bursts that are reported",
            f"{text} A burst counts as reported if a value above 0 was sent. The interval is "
            "Wilson's, of 95 %.",
            [
                _share_row(_of_length(bursts, length), length, tool)
                for length in LENGTHS_MS
                for tool in TOOLS
            ],
            middle="share",
            spread="95 % interval",
        ),
        Table(
            "Burst visibility: reported peak, as a share of the true peak",
            "The highest value sent of each reported burst, as a share of its connections. A case "
            "with fewer than two reported bursts has no row.",
            [
                peaks
                for length in LENGTHS_MS
                for tool in TOOLS
                for peaks in _peak_rows(_of_length(bursts, length), length, tool)
            ],
        ),
    ]


def run(lanes: int, of_each: int) -> list[Burst]:
    """Return the bursts of all lanes, which run concurrently."""
    gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = [
            stack.enter_context(Lane(gunicorn, Path(folder), SEED + number))
            for number in range(lanes)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(lanes))
        found = pool.map(lambda lane: lane.run(LENGTHS_MS * of_each), running)
        return [burst for bursts in found for burst in bursts]


def _of_length(bursts: Sequence[Burst], length_ms: int) -> list[Burst]:
    return [burst for burst in bursts if burst.length_ms == length_ms]


def _peak(burst: Burst, tool: str) -> float:
    return max(burst.reported.get(tool, ()), default=0)


def _share_row(bursts: Sequence[Burst], length_ms: int, tool: str) -> Row:
    reported = sum(_peak(burst, tool) > 0 for burst in bursts)
    low, high = wilson(reported, len(bursts))
    took_ms = statistics.median(burst.took_ms for burst in bursts)
    return Row(
        f"{length_ms} ms, {tool}",
        "%",
        100 * reported / len(bursts),
        100 * low,
        100 * high,
        len(bursts),
        note=f"held {took_ms:.1f} ms in the median",
    )


def _peak_rows(bursts: Sequence[Burst], length_ms: int, tool: str) -> list[Row]:
    peaks = [100 * peak / burst.height for burst in bursts if (peak := _peak(burst, tool)) > 0]
    return [row(f"{length_ms} ms, {tool}", "%", peaks)] if len(peaks) > 1 else []


def wilson(hits: int, times: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's confidence interval of a share; ``z`` = 1.96 for 95 %."""
    share = hits / times
    middle = share + z * z / (2 * times)
    reach = z * math.sqrt(share * (1 - share) / times + z * z / (4 * times * times))
    scale = 1 + z * z / times
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)
