"""The demo's screen: the latest push as bars, and at the end a table of all phases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent import Datagram, Line
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """A metric of the demo. ``tag``: of its lines; empty: any. ``full``: value of a full bar."""

    title: str
    metric: str
    tag: str = ""
    full: float = 0


@dataclass
class Push:
    """Values of one push by the column's title; ``at_s``: its arrival."""

    at_s: float
    values: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def from_lines(cls, at_s: float, lines: Iterable[Line], columns: Iterable[Column]) -> Push:
        """Return a push with the metrics that the demo shows."""
        push = cls(at_s)
        for line in lines:
            for column in columns:
                if line.name == column.metric and (not column.tag or column.tag in line.tags):
                    push.values[column.title] = line.values
        return push


class Show:
    """Shows the latest push as bars. ``pushes``: all pushes by phase."""

    def __init__(self, columns: Sequence[Column], *, interval_s: float) -> None:
        self.pushes: dict[str, list[Push]] = {}
        self._columns = columns
        self._interval_s = interval_s
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
        self._latest, self._lines = Push.from_lines(datagram.at_s, self._lines, self._columns), []
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
        for title in ("metric", "now", ""):
            table.add_column(title, justify="right" if title == "now" else "left")
        for column in self._columns:
            value = max(push.values.get(column.title, ()), default=0)
            _add_bar(table, f"{column.metric} {column.tag}".rstrip(), value, column.full)
        return table

    def summary(self) -> Table:
        """Return a table of the lowest and highest value of each phase."""
        table = Table(title="What was pushed to Datadog")
        for title in ("phase", "pushes", *(column.title for column in self._columns)):
            table.add_column(title, justify="left" if title == "phase" else "right")
        for name, pushes in self.pushes.items():
            ranges = [
                _range([value for push in pushes for value in push.values.get(column.title, ())])
                for column in self._columns
            ]
            table.add_row(name, str(len(pushes)), *ranges)
        return table


def _add_bar(table: Table, name: str, value: float, full: float) -> None:
    bar = ProgressBar(total=full, completed=min(value, full), width=40) if full else Text()
    table.add_row(name, f"{value:g}", bar)


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return _number(low) if low == high else f"{_number(low)}..{_number(high)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
