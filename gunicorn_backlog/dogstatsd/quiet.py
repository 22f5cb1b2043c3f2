"""Suppress the log records of a library while this thread calls it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gunicorn_backlog._threads.unpatched import original


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Meanwhile drop what this thread logs with these loggers; other threads' records pass."""
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
