"""The demo's screen: the latest push as bars, and at the end a table of all phases."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent import Datagram, Line
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


@dataclass
class Push:
    """What one push says, by the names of the metrics."""

    at_s: float
    backlog: tuple[float, ...] = ()
    limit: float = 0
    workers: dict[str, float] = field(default_factory=dict)
    in_flight: float = 0

    @classmethod
    def of(cls, at_s: float, lines: Iterable[Line]) -> Push:
        """Read the metrics that the demo shows."""
        push = cls(at_s)
        for line in lines:
            match line.name:
                case "gunicorn.backlog":
                    push.backlog = line.values
                case "gunicorn.backlog.limit":
                    push.limit = line.values[0]
                case "gunicorn.workers":
                    push.workers[line.tag("state") or "all"] = line.values[0]
                case "gunicorn.requests.in_flight":
                    push.in_flight = line.values[0]
        return push


class Show:
    """What is seen so far: the pushes by phase, the latest as bars."""

    def __init__(self, *, interval_s: float, workers: int, clients: int) -> None:
        self.pushes: dict[str, list[Push]] = {}
        self._interval_s = interval_s
        self._workers = workers
        self._clients = clients
        self._phase, self._what = "", ""
        self._from_s = math.inf
        self._lines: list[Line] = []  # of a push that goes on: it may take two datagrams
        self._latest: Push | None = None

    def begin(self, phase: str, what: str, now_s: float) -> None:
        """Count pushes to this phase, from the first whose interval lies in it."""
        self.pushes[phase] = []
        self._phase, self._what = phase, what
        self._from_s = now_s + self._interval_s

    def end(self) -> None:
        """Count pushes to no phase, until the next begins."""
        self._from_s = math.inf

    def heard(self, datagram: Datagram) -> None:
        """Take in a push, once its last line is there, the service check."""
        self._lines += datagram.lines
        if all(line.type != "_sc" for line in datagram.lines):
            return
        self._latest, self._lines = Push.of(datagram.at_s, self._lines), []
        if datagram.at_s > self._from_s:
            self.pushes[self._phase].append(self._latest)

    def __rich__(self) -> Group:
        """Draw the phase and the latest push."""
        title = Text.assemble((f" {self._phase} ", "reverse"), "  ", self._what)
        if self._latest is None:
            return Group(title, Text("waiting for the first push", style="dim"))
        return Group(title, self._bars(self._latest))

    def _bars(self, push: Push) -> Table:
        table = Table(show_header=True, box=None, padding=(0, 2))
        for column in ("metric", "now", ""):
            table.add_column(column, justify="right" if column == "now" else "left")
        waiting = max(push.backlog, default=0)
        _add_bar(table, "gunicorn.backlog (max)", waiting, self._clients)
        for state, count in push.workers.items():
            _add_bar(table, f"gunicorn.workers state:{state}", count, self._workers)
        _add_bar(table, "gunicorn.requests.in_flight", push.in_flight, self._workers)
        table.add_row("gunicorn.backlog.limit", f"{push.limit:g}", "")
        return table

    def summary(self) -> Table:
        """Return what was pushed in each phase, lowest to highest."""
        table = Table(title="What Datadog was told")
        for column in ("phase", "pushes", "backlog", "limit", "working", "idle", "in flight"):
            table.add_column(column, justify="left" if column == "phase" else "right")
        for name, pushes in self.pushes.items():
            table.add_row(
                name,
                str(len(pushes)),
                _range([value for push in pushes for value in push.backlog]),
                _range([push.limit for push in pushes]),
                _range([push.workers.get("working", 0) for push in pushes]),
                _range([push.workers.get("idle", 0) for push in pushes]),
                _range([push.in_flight for push in pushes]),
            )
        return table


def _add_bar(table: Table, name: str, value: float, full: float) -> None:
    bar = ProgressBar(total=full, completed=min(value, full), width=40)
    table.add_row(name, f"{value:g}", bar)


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"
