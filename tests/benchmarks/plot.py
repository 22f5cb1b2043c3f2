"""Plot of the tables: medians as bars, quartiles as whiskers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.table import Row, Table

ROW_INCHES = 0.28
WIDE = 50  # a panel whose largest median is more times the smallest gets a logarithmic axis


def save(tables: Sequence[Table], path: Path) -> None:
    """Save a plot with one panel per table and unit; the path's suffix sets the format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [panel for table in tables for panel in _panels(table)]
    heights = [len(rows) + 3 for _, _, rows in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        figsize=(9, ROW_INCHES * sum(heights)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, unit, rows) in zip(axes[:, 0], panels, strict=True):
        medians = [row.median for row in rows]
        whiskers = [
            [max(0.0, row.median - row.low) for row in rows],
            [max(0.0, row.high - row.median) for row in rows],
        ]
        axis.barh([row.name for row in rows], medians, xerr=whiskers, color="#7a6ff0", capsize=2)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel(unit, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
        if min(medians) > 0 and max(medians) > WIDE * min(medians):
            axis.set_xscale("log")
    figure.savefig(path)
    pyplot.close(figure)


def _panels(table: Table) -> list[tuple[str, str, list[Row]]]:
    by_unit: dict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        by_unit[row.unit].append(row)
    return [(table.title, unit, rows) for unit, rows in by_unit.items()]
