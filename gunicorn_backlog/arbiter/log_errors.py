"""A guard for each step in gunicorn's process: an exception ends the step and is logged once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gunicorn_backlog.log import OnceLogger

T = TypeVar("T")


def log_errors(logger: OnceLogger, action: str, step: Callable[[], T]) -> T | None:
    """Return the step's result; None after an exception, logged as "``action`` failed"."""
    try:
        return step()
    except Exception as error:
        logger.exception(action, error)
        return None
