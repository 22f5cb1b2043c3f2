"""A snapshot as JSON; ``cli/README.md`` documents its fields.

A field that is named like a metric has the metric's value. A value that can't be read is null; a
metric that the server does not push is absent.
"""

from __future__ import annotations

from typing import Any

from gunicorn_backlog import __version__
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listener_samples import Listener
from gunicorn_backlog.cli.inspect.snapshot import Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.metrics import catalog, points
from gunicorn_backlog.sampling.window import IntervalSummary
from gunicorn_backlog.scoreboard.server_info import ServerInfo

VERSION = 1
_CHECKS = {points.OK: "OK", points.CRITICAL: "CRITICAL"}


def report(snapshot: Snapshot) -> dict[str, Any]:
    """Return the object that ``status --json`` prints."""
    info = snapshot.server_info
    return {
        "version": VERSION,
        "gunicorn_backlog": __version__,
        "server": _server(snapshot.server, info),
        "looked_s": round(snapshot.lasted_s, 3),
        "listeners": [_listener(listener) for listener in snapshot.listeners],
        "metrics": _metrics(snapshot.interval, info.app),
        "pools": _pools(snapshot.interval),
        "workers": [_worker(worker) for worker in snapshot.workers],
    }


def _server(server: Server, info: ServerInfo) -> dict[str, Any]:
    return {
        "pid": server.pid,
        "app": info.app,
        "bind": [ref.listener for ref in info.listeners],
        "age_s": round(server.age_s, 1),
        "enabled": info.enabled,
        "gunicorn": info.gunicorn,
        "gunicorn_backlog": info.version,
        "worker_class": info.worker_class,
        "interval_s": info.interval_s,
        "agent": info.agent,
        "agent_from": info.agent_from,
        "agent_error": info.agent_error or None,
        "warnings": list(info.warnings),
    }


def _listener(listener: Listener) -> dict[str, Any]:
    latest = listener.latest
    return {
        "listener": latest.listener,
        catalog.BACKLOG.name: latest.length,
        f"{catalog.BACKLOG.name}.max": max(listener.lengths, default=None),
        catalog.LIMIT.name: latest.limit,
        catalog.DEEPEST.name: listener.deepest,
        catalog.DROPPED.name: listener.dropped,
        "dropped_ever": listener.dropped_ever,
        "unreadable": latest.why or None,
    }


def _metrics(interval: IntervalSummary, app: str) -> dict[str, Any]:
    """Return the values of the pushed metrics by name; of metrics with states one object each."""
    found: dict[str, Any] = {}
    for point in points.interval_points(interval, app=app, bind="", backlog_type="gauge"):
        (value,), (_, *tags) = point.values, point.tags
        if point.name == catalog.IS_RUNNING.name:
            found[point.name] = _CHECKS[int(value)]
        elif point.name == catalog.QUEUED.name:  # the sum over all pools
            found[point.name] = found.get(point.name, 0) + value
        elif tags:
            by_state = found.setdefault(point.name, {})
            state = tags[0].partition(":")[2]
            by_state[state] = by_state.get(state, 0) + value
        elif point.name == catalog.WORKERS.name:
            found[point.name] = {"total": value}
        elif point.name != catalog.SPAWNED.name:  # only the arbiter counts forks
            found[point.name] = value
    return found


def _pools(interval: IntervalSummary) -> dict[str, Any]:
    if interval.counts is None:
        return {}
    return {name: threads._asdict() for name, threads in interval.counts.threads.items()}


def _worker(worker: Worker) -> dict[str, Any]:
    fields = worker._asdict()
    del fields["kind"]  # a number of the memory's layout
    for name in ("oldest_s", "blocked_s"):
        if fields[name] is not None:
            fields[name] = round(fields[name], 3)
    fields["pools"] = {name: threads._asdict() for name, threads in worker.pools}
    return fields
