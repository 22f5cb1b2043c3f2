"""Rows of workers, for tests of computations on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows


def worker_rows(rows: Mapping[int, WorkerRow], running: Collection[int] = ()) -> WorkerRows:
    """Return rows in a reader's form; other running workers have no slot."""
    return WorkerRows(rows, without_slot=sorted(set(running) - rows.keys()))
