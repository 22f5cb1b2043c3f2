"""Which bursts in the backlog are seen at all, and how high they look, by tool."""

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
OF_EACH = 20  # bursts of each length, in each lane
QUICK_LANES, QUICK_OF_EACH = 4, 1
SEED = 7


def tables(quick: bool) -> list[Table]:
    """Make bursts, and compare what each tool told of them."""
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
            "Seeing: share of bursts that are reported at all",
            f"{text} A burst counts as reported if a value above 0 was sent. The interval is "
            "Wilson's, of 95 %.",
            [_share(_of(bursts, length), length, tool) for length in LENGTHS_MS for tool in TOOLS],
            middle="share",
            spread="95 % interval",
        ),
        Table(
            "Seeing: reported peak, as a share of the true one",
            "The highest value sent of each reported burst, as a share of its connections. A case "
            "with fewer than two reported bursts has no row.",
            [
                it
                for length in LENGTHS_MS
                for tool in TOOLS
                for it in _peaks(_of(bursts, length), length, tool)
            ],
        ),
    ]


def run(lanes: int, of_each: int) -> list[Burst]:
    """Return the bursts of all lanes, which run at the same time."""
    gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = [
            stack.enter_context(Lane(gunicorn, Path(folder), SEED + number))
            for number in range(lanes)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(lanes))
        found = pool.map(lambda lane: lane.run(LENGTHS_MS * of_each), running)
        return [burst for bursts in found for burst in bursts]


def _of(bursts: Sequence[Burst], length_ms: int) -> list[Burst]:
    return [burst for burst in bursts if burst.length_ms == length_ms]


def _peak(burst: Burst, tool: str) -> float:
    return max(burst.told.get(tool, ()), default=0)


def _share(bursts: Sequence[Burst], length_ms: int, tool: str) -> Row:
    seen = sum(_peak(burst, tool) > 0 for burst in bursts)
    low, high = wilson(seen, len(bursts))
    took_ms = statistics.median(burst.took_ms for burst in bursts)
    return Row(
        f"{length_ms} ms, {tool}",
        "%",
        100 * seen / len(bursts),
        100 * low,
        100 * high,
        len(bursts),
        note=f"held {took_ms:.1f} ms in the median",
    )


def _peaks(bursts: Sequence[Burst], length_ms: int, tool: str) -> list[Row]:
    peaks = [100 * peak / it.height for it in bursts if (peak := _peak(it, tool)) > 0]
    return [row(f"{length_ms} ms, {tool}", "%", peaks)] if len(peaks) > 1 else []


def wilson(hits: int, times: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    share = hits / times
    middle = share + z * z / (2 * times)
    reach = z * math.sqrt(share * (1 - share) / times + z * z / (4 * times * times))
    scale = 1 + z * z / times
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)
