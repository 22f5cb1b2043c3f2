"""What is to be in an account: the monitors, the dashboard and the metrics' metadata beside us."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

HERE = Path(__file__).parent
OURS = "managed_by:gunicorn_backlog"  # a tag that all our monitors have
Kind = Literal["monitor", "dashboard", "metric"]


class Wanted(NamedTuple):
    """One object: ``key`` is what it is found by, ``body`` what it is to say."""

    kind: Kind
    key: str
    body: dict[str, Any]

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return f'{self.kind} "{self.body.get("name") or self.body.get("title") or self.key}"'


def wanted(folder: Path = HERE, notify: Sequence[str] = ()) -> list[Wanted]:
    """Return all objects. Raises OSError, and ValueError for a file that is not right.

    :param notify: handles such as ``@slack-ops``, added to each monitor's message.
    """
    return [
        *(_monitor(path, notify) for path in sorted(folder.glob("monitors/*.json"))),
        _dashboard(folder / "dashboard.json"),
        *_metrics(folder / "metadata.csv"),
    ]


def own_tag(tags: Sequence[object]) -> str:
    """Return the tag that tells a monitor of ours from the others, or ""."""
    texts = (tag for tag in tags if isinstance(tag, str))
    return next((tag for tag in texts if tag.startswith("gunicorn_backlog:")), "")


def _monitor(path: Path, notify: Sequence[str]) -> Wanted:
    try:
        body = json.loads(path.read_text())["definition"]
        key = own_tag(body["tags"])
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: not a monitor: {error!r}") from None
    if not key or OURS not in body["tags"]:
        raise ValueError(f"{path}: its tags need {OURS} and one of gunicorn_backlog:")
    if not all(isinstance(tag, str) for tag in body["tags"]):
        raise ValueError(f"{path}: its tags are to be texts")
    if notify:
        body["message"] += f"\n\n{' '.join(notify)}"
    return Wanted("monitor", key, body)


def _dashboard(path: Path) -> Wanted:
    try:
        body = json.loads(path.read_text())
        return Wanted("dashboard", body["title"], body)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: not a dashboard: {error!r}") from None


def _metrics(path: Path) -> list[Wanted]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [Wanted("metric", row["metric_name"], _metadata(row)) for row in rows]
    except LookupError as error:
        raise ValueError(f"{path}: no column {error}") from None


def _metadata(row: dict[str, str]) -> dict[str, Any]:
    texts = {
        "type": row["metric_type"],
        "unit": row["unit_name"],
        "per_unit": row["per_unit_name"],
        "description": row["description"],
        "short_name": row["short_name"],
    }
    return {name: text for name, text in texts.items() if text} | {
        "statsd_interval": int(row["interval"])
    }
