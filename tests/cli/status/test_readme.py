"""The documented fields of ``status --json`` equal the printed ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import StandInAgent

import gunicorn_backlog.cli
from tests.conftest import ServerFactory
from tests.lab.cli_in_process import status_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import wait_until_all_are_idle

README = Path(gunicorn_backlog.cli.__file__).with_name("README.md")


def documented() -> set[str]:
    """Return the fields in the first column of the table, without those of single metrics."""
    text = README.read_text()
    rows = re.findall(
        r"^\| (`.*`) \| ", text[text.index("| field |") : text.index("## `check`")], re.M
    )
    fields = {field for row in rows for field in re.findall(r"`(.*?)`", row)}
    return {field for field in fields if not field.startswith("metrics.")}


def printed(report: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the path of each field; metrics count as one field, and so do pools."""
    for name, value in report.items():
        items = value if isinstance(value, list) else [value]
        list_mark = "[]" if name in ("listeners", "workers", "warnings") else ""
        if name not in ("metrics", "pools") and items and isinstance(items[0], dict):
            yield from printed(items[0], f"{prefix}{name}{list_mark}.")
        else:
            yield f"{prefix}{name}{list_mark}"


def test_the_readme_documents_each_field(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The table in the command's README has each field of a real report, and no other."""
    server = serve(newest, environ={"GUNICORN_BACKLOG_URL": agent.url})
    wait_until_all_are_idle(agent)
    report = status_here(server.pid)
    assert set(printed(report)) == documented()
    assert {"gunicorn.workers", "gunicorn.is_running"} <= report["metrics"].keys()
