"""The objects for an account: monitors, the dashboard and the metrics' metadata of this folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

HERE = Path(__file__).parent
OURS = "managed_by:gunicorn_backlog"  # a tag of all our monitors
TEXTS = ("name", "type", "query", "message")  # fields of a monitor
Kind = Literal["monitor", "dashboard", "metric"]


class Wanted(NamedTuple):
    """One object for the account.

    ``key`` identifies the object in the account: a monitor's own tag, the dashboard's title or a
    metric's name. ``body``: the object's content.
    """

    kind: Kind
    key: str
    body: dict[str, Any]

    @property
    def title(self) -> str:
        """The object's kind and name, for messages."""
        return f'{self.kind} "{self.body.get("name") or self.body.get("title") or self.key}"'


def wanted(folder: Path = HERE, notify: Sequence[str] = ()) -> list[Wanted]:
    """Return all objects. Raises OSError, and ValueError for an invalid file or handle.

    :param notify: handles such as ``@slack-ops``, added to each monitor's message.
    """
    for handles in notify:
        if not re.fullmatch(r"@\S+( +@\S+)*", handles):
            raise ValueError(f"--notify is {handles!r}; allowed: a handle such as @slack-ops")
    return [
        *_monitors(folder / "monitors", notify),
        _dashboard(folder / "dashboard.json"),
        *_metrics(folder / "metadata.csv"),
    ]


def own_tag(tags: Sequence[object]) -> str:
    """Return the tag that identifies one of our monitors, or ""."""
    texts = (tag for tag in tags if isinstance(tag, str))
    return next((tag for tag in texts if tag.startswith("gunicorn_backlog:")), "")


def _monitors(folder: Path, notify: Sequence[str]) -> list[Wanted]:
    files: dict[str, Path] = {}
    found = []
    for path in sorted(folder.glob("*.json")):
        found.append(_monitor(path, notify))
        other = files.setdefault(found[-1].key, path)
        if other != path:
            raise ValueError(f"{path}: its tag {found[-1].key} is that of {other.name}, too")
    if not found:
        raise ValueError(f"{folder}: there is no monitor")
    return found


def _monitor(path: Path, notify: Sequence[str]) -> Wanted:
    try:
        body = json.loads(_text(path))["definition"]
        key = own_tag(body["tags"])
        right = all(isinstance(body[name], str) for name in TEXTS)
        right = right and isinstance(body["options"]["thresholds"], dict)
    except (json.JSONDecodeError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: not a monitor: {error!r}") from None
    if not right:
        raise ValueError(f"{path}: {', '.join(TEXTS)} are to be texts, and thresholds an object")
    if not key or OURS not in body["tags"]:
        raise ValueError(f"{path}: its tags need {OURS} and one of gunicorn_backlog:")
    if not all(isinstance(tag, str) for tag in body["tags"]):
        raise ValueError(f"{path}: its tags are to be texts")
    if notify:
        body["message"] += f"\n\n{' '.join(notify)}"
    return Wanted("monitor", key, body)


def _dashboard(path: Path) -> Wanted:
    try:
        body = json.loads(_text(path))
        return Wanted("dashboard", body["title"], body)
    except (json.JSONDecodeError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: not a dashboard: {error!r}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")  # independent of the locale
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}") from None


def _metrics(path: Path) -> Iterator[Wanted]:
    rows = csv.DictReader(io.StringIO(_text(path), newline=""))
    names: set[str] = set()
    try:
        for row in rows:
            yield Wanted("metric", row["metric_name"], _metadata(row, names))
            names.add(row["metric_name"])
    except LookupError as error:
        raise ValueError(f"{path}: no column {error}") from None
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}, line {rows.reader.line_num}: {error}") from None


def _metadata(row: dict[str, str], earlier: Container[str]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ValueError("as many fields are needed as there are columns")
    if row["metric_name"] in earlier:
        raise ValueError(f"{row['metric_name']} is there twice")
    if not re.fullmatch("[0-9]+", row["interval"]):
        raise ValueError(f"interval is {row['interval']!r}; allowed: whole seconds")
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
