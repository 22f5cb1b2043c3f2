"""What was seen of a server as JSON, of a documented shape: README, "Look into a running server".

Where there is a metric, its name is the key. What can't be told is null, or absent if it is a
metric of a kind that this server does not have: as it is then not pushed.
"""

from __future__ import annotations

from typing import Any

from gunicorn_backlog import __version__
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import Listener, Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.metrics import points
from gunicorn_backlog.metrics.catalog import (
    BACKLOG,
    DEEPEST,
    DROPPED,
    IS_RUNNING,
    LIMIT,
    SPAWNED,
    WORKERS,
)
from gunicorn_backlog.sampling.window import IntervalSummary

VERSION = 1
_CHECKS = {points.OK: "OK", points.CRITICAL: "CRITICAL"}


def report(look: Snapshot) -> dict[str, Any]:
    """Return all that was seen, as ``status --json`` prints it."""
    about = look.about
    return {
        "version": VERSION,
        "gunicorn_backlog": __version__,
        "server": {
            **server(look.server),
            "enabled": about.enabled,
            "gunicorn": about.gunicorn,
            "gunicorn_backlog": about.version,
            "worker_class": about.worker_class,
            "interval_s": about.interval_s,
            "agent": about.agent,
            "agent_from": about.agent_from,
            "agent_error": about.agent_error or None,
            "warnings": list(about.warnings),
        },
        "looked_s": round(look.lasted_s, 3),
        "listeners": [_listener(it) for it in look.listeners],
        "metrics": _metrics(look.interval, about.app),
        "workers": [_worker(it) for it in look.workers],
    }


def server(found: Server) -> dict[str, Any]:
    """Return what tells a server from others. Raises LookError."""
    about = found.about
    return {
        "pid": found.pid,
        "app": about.app,
        "bind": [place.listener for place in about.listeners],
        "age_s": round(found.age_s, 1),
    }


def _listener(seen: Listener) -> dict[str, Any]:
    latest = seen.latest
    return {
        "listener": latest.listener,
        BACKLOG.name: latest.length,
        f"{BACKLOG.name}.max": max(seen.lengths, default=None),
        LIMIT.name: latest.limit,
        DEEPEST.name: seen.deepest,
        DROPPED.name: seen.dropped,
        "dropped_ever": seen.dropped_ever,
        "unreadable": latest.why or None,
    }


def _metrics(interval: IntervalSummary, app: str) -> dict[str, Any]:
    """Return the points that would be pushed, by name; those by state as an object of states."""
    found: dict[str, Any] = {}
    for point in points.interval_points(interval, app=app, bind="", backlog_type="gauge"):
        (value,), (_, *tags) = point.values, point.tags
        if point.name == IS_RUNNING.name:
            found[point.name] = _CHECKS[int(value)]
        elif tags:
            found.setdefault(point.name, {})[tags[0].partition(":")[2]] = value
        elif point.name == WORKERS.name:
            found[point.name] = {"total": value}
        elif point.name != SPAWNED.name:  # the arbiter alone knows it
            found[point.name] = value
    return found


def _worker(seen: Worker) -> dict[str, Any]:
    told = seen._asdict()
    del told["kind"]  # a number of the memory's layout
    if seen.oldest_s is not None:
        told["oldest_s"] = round(seen.oldest_s, 3)
    return told
