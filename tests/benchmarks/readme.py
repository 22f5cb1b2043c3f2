"""The tables in ``README.md``: a run replaces its own, by their titles, and keeps the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.benchmarks.table import Table

BEGIN, END = "<!-- figures: written by --readme -->", "<!-- end of figures -->"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def replaced(readme: str, tables: Sequence[Table], conditions: str) -> str:
    """Return the README with the tables of a run, each with the conditions of the run."""
    before, _, rest = readme.partition(BEGIN)
    figures, _, after = rest.partition(END)
    if not after:
        raise ValueError("the README has no markers for the figures")
    found = _sections(figures) | {
        table.title: f"{table.markdown()}\nMeasured: {conditions}\n" for table in tables
    }
    return f"{before}{BEGIN}\n\n{chr(10).join(found.values())}\n{END}{after}"


def _sections(figures: str) -> dict[str, str]:
    """Return the sections by their titles, in their order."""
    headings = list(_HEADING.finditer(figures))
    ends = [heading.start() for heading in headings[1:]] + [len(figures)]
    return {
        heading[1]: figures[heading.start() : end].rstrip() + "\n"
        for heading, end in zip(headings, ends, strict=True)
    }
