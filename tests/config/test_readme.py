"""The README's table of settings equals the settings of the code."""

from __future__ import annotations

import re
from pathlib import Path

from gunicorn_backlog.config.options import GROUPS, OPTIONS

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_has_each_setting() -> None:
    """Each setting has one row, with its variable; the row of ``metrics`` names all groups."""
    rows = re.findall(
        r"^\| `(\w+)` \| `(GUNICORN_BACKLOG_\w+)` \| (.*) \|$", README.read_text(), re.M
    )
    assert [row[:2] for row in rows] == [
        (option.name, option.variable) for option in OPTIONS.values()
    ]
    (groups,) = [text for name, _, text in rows if name == "metrics"]
    assert re.findall(r"`(\w+)`", groups) == list(GROUPS)
