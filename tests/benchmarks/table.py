"""Results of a benchmark: tables of medians and quartiles, as Markdown and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple


class Row(NamedTuple):
    """Statistics of one quantity; ``beside``: the median as a multiple of another row's."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    times: int
    beside: float | None = None
    note: str = ""


class Table(NamedTuple):
    """Measurements of one run, in turns; ``text`` describes the measurement and its base.

    ``middle`` and ``spread`` are headings, for a table whose rows are not medians and quartiles.
    """

    title: str
    text: str
    rows: Sequence[Row]
    beside: str = ""  # the heading of the column ``beside``
    middle: str = "median"
    spread: str = "quartiles"

    def markdown(self) -> str:
        """Return the table as Markdown."""
        beside = self.beside and f" {self.beside} |"
        notes = any(row.note for row in self.rows) and " |"
        lines = [
            f"## {self.title}\n\n{self.text}\n",
            f"| | {self.middle} | {self.spread} | times |{beside or ''}{notes or ''}",
            f"|---|---|---|---|{beside and '---|'}{(notes and '---|') or ''}",
        ]
        return "\n".join([*lines, *(self._line(row, bool(notes)) for row in self.rows)]) + "\n"

    def _line(self, row: Row, notes: bool) -> str:
        cells = [row.name, f"{_number(row.median)} {row.unit}"]
        cells += [f"{_number(row.low)} to {_number(row.high)}", str(row.times)]
        if self.beside:
            cells.append("" if row.beside is None else f"{row.beside:.2f}")
        if notes:
            cells.append(row.note)
        return f"| {' | '.join(cells)} |"

    def json(self) -> dict[str, Any]:
        """Return the table as objects that JSON can represent."""
        return self._asdict() | {"rows": [row._asdict() for row in self.rows]}


def row(
    name: str, unit: str, values: Sequence[float], *, beside: float | None = None, note: str = ""
) -> Row:
    """Return the row of the median and quartiles of two or more values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    ratio = None if beside is None else median / beside
    return Row(name, unit, median, low, high, len(values), ratio, note)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
