"""gunicorn's door: ``from gunicorn_backlog.hooks import *`` in ``gunicorn.conf.py``.

Whoever has hooks of the same names calls these from theirs, in any order. gunicorn also takes this
module for a config file (``--config python:gunicorn_backlog.hooks``) and then applies every name
in it that is a setting's: so no name may be here that is one, but for the hooks.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING

from gunicorn_backlog import settings as _settings
from gunicorn_backlog.notices import Notices as _Notices

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import Arbiter as _Arbiter
    from gunicorn_backlog.arbiter import Worker as _Worker
    from gunicorn_backlog.monitor import Monitor as _Monitor

__all__ = ["on_exit", "post_worker_init", "when_ready"]

_settings.check({}, _os.environ)

_notices = _Notices()
_monitor: _Monitor | None = None


def when_ready(server: _Arbiter) -> None:
    """Begin to watch this server. Raises ConfigError, and nothing else."""
    global _monitor
    if _monitor is not None:
        return
    try:
        from gunicorn_backlog.monitor import Monitor

        _monitor = Monitor(server, _notices)
        _monitor.start()
    except Exception as error:
        _notices.failed("starting", error)


def post_worker_init(worker: _Worker) -> None:
    """Let this worker say what it is doing. Raises nothing."""
    try:
        if _monitor is not None:
            _monitor.enter(worker)
    except Exception as error:
        if not _notices.was_said("unwatched"):  # by the arbiter, of a worker before this one
            _notices.failed("watching this worker", error)


def on_exit(server: _Arbiter) -> None:
    """Push a last time; returns within 0.1 s. Raises nothing."""
    try:
        if _monitor is not None:
            _monitor.stop()
    except Exception as error:
        _notices.failed("stopping", error)
