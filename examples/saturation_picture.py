"""Draw a saturation as the dashboard shows it, from a run of a real gunicorn.

    python examples/saturation_picture.py [FILE.svg]

Starts a gunicorn with two sync workers and a backlog of 8, then no client, sixteen clients, and no
client again: three minutes. The picture has one widget of each group of datadog/dashboard.json.
Their values are the Agent's of ten seconds: a gauge's last value, a count's sum, a histogram's
maximum.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import load
from agent import Datagram, Line, StandInAgent

FOLDER = Path(__file__).parent / "datadog"
PHASES = ((0, 40.0), (16, 80.0), (0, 60.0))  # clients, and for how many seconds
WORKERS, REQUEST, BACKLOG = 2, "/sleep/0.4", 8
FLUSH_S = 10
WIDGETS = (
    "Connections waiting, longest queue by listener",
    "Wait of requests",
    "Utilization, mean of the workers",
    "CPU time and waiting for a CPU, mean per worker, %",
    "Connections dropped by listener",
    "Oldest heartbeat, % of gunicorn's timeout",
)
COLOURS = ("#7a6ff0", "#dd8452", "#55a868")
WIDTH, HEIGHT, GAP, TOP = 300, 130, 16, 46  # of a panel, in pixels
_METRIC = re.compile(r"\w+:([\w.]+)\{")


class Curve(NamedTuple):
    """A curve of a widget: one value for each ten seconds; None: no value."""

    name: str
    values: tuple[float | None, ...]


class Panel(NamedTuple):
    """A widget of the dashboard and its group's title."""

    group: str
    title: str
    curves: tuple[Curve, ...]


def run() -> tuple[list[Datagram], float]:
    """Return the pushes of the run, and the time of its begin (monotonic clock)."""
    stop, port = Event(), load.free_port()
    os.environ["GUNICORN_CMD_ARGS"] = f"--backlog {BACKLOG}"
    with StandInAgent() as agent, load.gunicorn(port, WORKERS, agent.url, stop):
        began_s = time.monotonic()
        for clients, seconds in PHASES:
            with load.clients(clients, port, REQUEST, stop):
                stop.wait(seconds)
        return list(agent.datagrams), began_s


def panels(datagrams: Iterable[Datagram], began_s: float) -> Iterator[Panel]:
    """Yield the drawn widgets with their curves."""
    flushes: dict[int, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for datagram in datagrams:
        for line in datagram.lines:
            if datagram.at_s >= began_s:
                flushes[int((datagram.at_s - began_s) // FLUSH_S)][line.name].append(line)
    last = max(flushes)  # not complete
    for group in json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["widgets"]:
        for widget in group["definition"]["widgets"]:
            if widget["definition"].get("title") in WIDGETS:
                curves = _curves(widget["definition"], [flushes[at] for at in range(last)])
                yield Panel(group["definition"]["title"], widget["definition"]["title"], curves)


def _curves(widget: Any, flushes: Sequence[dict[str, list[Line]]]) -> tuple[Curve, ...]:
    found = []
    for request in widget["requests"]:
        aliases = {each["formula"]: each.get("alias", "") for each in request["formulas"]}
        for query in request["queries"]:
            metric = _METRIC.match(query["query"])
            assert metric is not None
            values = tuple(_value(metric[1], flush) for flush in flushes)
            found.append(Curve(aliases[query["name"]], values))
    return tuple(found)


def _value(metric: str, flush: dict[str, list[Line]]) -> float | None:
    """Return the Agent's value of ten seconds; only a histogram's ``.max`` is known."""
    lines = flush.get(metric) or flush.get(metric.removesuffix(".max"))
    if not lines:
        return None
    if lines[-1].type == "g":
        return lines[-1].values[-1]
    values = [value for line in lines for value in line.values]
    return max(values) if lines[-1].type == "h" else sum(values)


def svg(drawn: Sequence[Panel]) -> str:
    """Return the picture: three panels a row."""
    rows = -(-len(drawn) // 3)
    width, height = 3 * (WIDTH + GAP) + GAP, rows * (HEIGHT + TOP + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, panel in enumerate(drawn):
        left = GAP + number % 3 * (WIDTH + GAP)
        parts += _panel(panel, left, GAP + number // 3 * (HEIGHT + TOP + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int, top: int) -> Iterator[str]:
    bottom = top + TOP + HEIGHT
    values = [value for curve in panel.curves for value in curve.values if value is not None]
    most = max([*values, 1.0])
    yield f'<text x="{left}" y="{top + 10}" font-weight="bold" font-size="13">{panel.group}</text>'
    yield f'<text x="{left}" y="{top + 26}" fill="#555">{panel.title}</text>'
    yield (
        f'<rect x="{left}" y="{top + TOP}" width="{WIDTH}" height="{HEIGHT}" fill="#f7f7fb"'
        ' stroke="#ddd"/>'
    )
    yield f'<text x="{left + 4}" y="{top + TOP - 4}" fill="#777">{most:,.0f}</text>'
    for number, (curve, colour) in enumerate(zip(panel.curves, COLOURS, strict=False)):
        step = WIDTH / max(1, len(curve.values) - 1)
        points = " ".join(
            f"{left + at * step:.1f},{bottom - value / most * (HEIGHT - 4):.1f}"
            for at, value in enumerate(curve.values)
            if value is not None
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        place = left + WIDTH - 90 * (len(panel.curves) - number) + 4
        yield f'<text x="{place}" y="{top + TOP - 4}" fill="{colour}">{curve.name}</text>'


def main() -> None:
    """Write the picture to the file of the first argument, or to datadog/saturation.svg."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "saturation.svg"
    path.write_text(svg(list(panels(*run()))), encoding="utf-8")


if __name__ == "__main__":
    main()
