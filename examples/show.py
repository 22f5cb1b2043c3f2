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
    """Values of one push; ``at_s``: its arrival, ``workers``: by state."""

    at_s: float
    backlog: tuple[float, ...] = ()
    limit: float = 0
    workers: dict[str, float] = field(default_factory=dict)
    in_flight: float = 0

    @classmethod
    def from_lines(cls, at_s: float, lines: Iterable[Line]) -> Push:
        """Return a push with the metrics that the demo shows."""
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
    """Shows the latest push as bars. ``pushes``: all pushes by phase."""

    def __init__(self, *, interval_s: float, workers: int, clients: int) -> None:
        self.pushes: dict[str, list[Push]] = {}
        self._interval_s = interval_s
        self._workers = workers
        self._clients = clients
        self._phase, self._what = "", ""
        self._from_s = math.inf
        self._lines: list[Line] = []  # of an incomplete push, which may take two datagrams
        self._latest: Push | None = None

    def begin(self, phase: str, what: str, now_s: float) -> None:
        """Begin a phase; ``pushes`` gets each push whose whole interval is in the phase."""
        self.pushes[phase] = []
        self._phase, self._what = phase, what
        self._from_s = now_s + self._interval_s

    def end(self) -> None:
        """Add pushes to no phase, until the next phase begins."""
        self._from_s = math.inf

    def add(self, datagram: Datagram) -> None:
        """Add a datagram; the service check is the last line of a push."""
        self._lines += datagram.lines
        if all(line.type != "_sc" for line in datagram.lines):
            return
        self._latest, self._lines = Push.from_lines(datagram.at_s, self._lines), []
        if datagram.at_s > self._from_s:
            self.pushes[self._phase].append(self._latest)

    def __rich__(self) -> Group:
        """Return the phase and the latest push."""
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
        """Return a table of the lowest and highest value of each phase."""
        table = Table(title="What was pushed to Datadog")
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
