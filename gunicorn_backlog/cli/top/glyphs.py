"""Bars and sparklines, made of blocks or, where blocks can't be printed, of ASCII."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size


class Glyphs(NamedTuple):
    """The characters of a drawing.

    ``bar``, ``spark``: from the emptiest to the fullest. ``empty``: a missing value of a
    sparkline. ``cut``: the end of a text that was cut.
    """

    bar: str
    spark: str
    empty: str
    cut: str

    def fit(self, line: str, width: int) -> str:
        """Return a text cut to ``width`` columns; some letters are two columns wide."""
        if cell_len(line) <= width:
            return line
        return set_cell_size(line, max(0, width - 1)) + self.cut


BLOCKS = Glyphs(" ▏▎▍▌▋▊▉█", "▁▂▃▄▅▆▇█", "·", "…")
ASCII = Glyphs(" #", "_.-=*#", " ", "~")


def bar(glyphs: Glyphs, value: float, full: float, width: int) -> str:
    """Return a bar of ``width`` columns; each value above 0 is visible."""
    steps = len(glyphs.bar) - 1
    whole = width * steps
    filled = round(min(whole, whole * value / full)) if full > 0 else 0
    if value > 0:
        filled = max(1, filled)
    rest = glyphs.bar[filled % steps] if filled % steps else ""
    return (glyphs.bar[-1] * (filled // steps) + rest).ljust(width)


def sparkline(glyphs: Glyphs, values: Sequence[int | None]) -> str:
    """Return a sparkline, its maximum at full height; None is ``glyphs.empty``."""
    highest = max((value for value in values if value is not None), default=0)
    top = len(glyphs.spark) - 1

    def glyph(value: int | None) -> str:
        if value is None:
            return glyphs.empty
        return glyphs.spark[max(1, round(top * value / highest)) if value else 0]

    return "".join(map(glyph, values))
