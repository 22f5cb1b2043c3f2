"""Whether gunicorn itself pushes a ``gunicorn.backlog``: since 24.1, with a logger for StatsD."""

from __future__ import annotations

from typing import Any

_STATSD = ("gunicorn.instrument.statsd", "Statsd")


def pushes_backlog(cfg: Any) -> bool:
    """Return whether gunicorn with this config pushes its own ``gunicorn.backlog``.

    ``enable_backlog_metric`` alone does nothing: the metric is an extra of a log record, and only
    the logger that ``statsd_host`` selects pushes it.
    """
    if not getattr(cfg, "enable_backlog_metric", False) or not cfg.statsd_host:
        return False
    return any((it.__module__, it.__name__) == _STATSD for it in cfg.logger_class.__mro__)
