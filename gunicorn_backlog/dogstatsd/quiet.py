"""Two context managers for calls of a library: its log records, or some variables, are hidden."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from gunicorn_backlog._threads.unpatched import original


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Drop the records that this thread logs with these loggers; those of other threads pass."""
    thread_id = original("_thread", "get_ident")
    ours = thread_id()
    loggers = [logging.getLogger(name) for name in names]

    def passes(_: logging.LogRecord) -> bool:
        return bool(thread_id() != ours)

    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Remove these variables from ``os.environ``, and restore them at the end.

    Not by ``del``: that calls ``unsetenv``, and in another thread a C library's ``getenv`` may be
    reading what it moves.
    """
    kept: dict[bytes, bytes] = vars(os.environ)["_data"]
    values = {key: kept.pop(key) for key in map(os.fsencode, names) if key in kept}
    try:
        yield
    finally:
        for key, value in values.items():
            kept.setdefault(key, value)
