"""The files of ``examples/datadog``, read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "examples" / "datadog"
MONITORS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("monitors/*.json"))
}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
