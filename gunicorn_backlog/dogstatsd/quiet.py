"""Suppress the log records of a library while this thread calls it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gunicorn_backlog._threads.unpatched import original


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Drop this thread's records of the loggers with these names; those of other threads pass."""
    thread_id = original("_thread", "get_ident")
    own_id = thread_id()
    loggers = [logging.getLogger(name) for name in names]

    def passes(_: logging.LogRecord) -> bool:
        return bool(thread_id() != own_id)

    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)
