"""The parsed files of ``examples/datadog``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.datadog.grammar import parse
from tests.datadog.query import Query

FOLDER = Path(__file__).parents[2] / "examples" / "datadog"
MONITORS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("monitors/*.json"))
}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
every_monitor = pytest.mark.parametrize("name", MONITORS)


def query_of(name: str) -> Query:
    """Return a monitor's query, parsed."""
    return parse(MONITORS[name]["definition"]["query"])
