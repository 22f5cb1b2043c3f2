"""Tables of plain text, and the cells of numbers and durations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

UNKNOWN = "?"  # a value that exists and can't be read
NONE = "-"  # a value that does not exist
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int, first: int = 0
) -> Iterator[str]:
    """Yield the lines of a table.

    :param left: number of columns from ``first`` on that are aligned left; others align right.
    """
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if first <= at < first + left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def duration(seconds: float) -> str:
    """Return a duration in its two greatest units: ``0.4 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds)
    number = next(number for number, (size, _) in enumerate(_UNITS) if whole >= size)
    (size, unit), (smaller, name) = _UNITS[number : number + 2]
    return f"{whole // size} {unit} {whole % size // smaller} {name}"


def number(value: float | None, unknown: bool, unit: str = "") -> str:
    """Return the cell of a number with its unit; None: it does not exist, or can't be read."""
    if value is None:
        return UNKNOWN if unknown else NONE
    return f"{value:.0f}{unit}"
