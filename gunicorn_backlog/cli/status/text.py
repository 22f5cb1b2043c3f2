"""A snapshot, and a list of servers, as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import Snapshot
from gunicorn_backlog.cli.status.rows import LISTENER_COLUMNS, listener_row, worker_table
from gunicorn_backlog.cli.status.table import NONE, UNKNOWN, duration, table
from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.sampling.cpu import CpuUsage
from gunicorn_backlog.sampling.window import IntervalSummary
from gunicorn_backlog.sampling.worker_counts import GTHREAD_POOL, ThreadCounts, WorkerCounts
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

SWITCHED_OFF = (
    "switched off (enabled=False): nothing is pushed, and new workers are not instrumented"
)


def status(snapshot: Snapshot) -> str:
    """Return the text that ``status`` prints."""
    return "\n".join(
        [
            *head(snapshot),
            "",
            *table(LISTENER_COLUMNS, map(listener_row, snapshot.listeners), left=1),
            "",
            *(f"{name:12} {value}" for name, value in facts(snapshot.interval)),
            "",
            *table(*worker_table(snapshot.workers), left=0),
            *notes(snapshot),
        ]
    )


def head(snapshot: Snapshot) -> list[str]:
    """Return two lines: the server, and its pushes."""
    info = snapshot.server_info
    return [
        f"{info.app}: pid {snapshot.server.pid}, gunicorn {info.gunicorn}, {info.worker_class}, "
        f"up {duration(snapshot.age_s)}",
        _pushes(info) if info.enabled else SWITCHED_OFF,
    ]


def _pushes(info: ServerInfo) -> str:
    if info.agent_error == DISABLED:
        return f"does not push to {info.agent}: {DISABLED}"
    text = f"pushes every {info.interval_s:g} s to {info.agent} (from {info.agent_from})"
    return f"{text}; error of the latest: {info.agent_error}" if info.agent_error else text


def facts(interval: IntervalSummary) -> Iterator[tuple[str, str]]:
    """Yield name and value of each fact about all workers together."""
    counts = interval.counts
    if counts is None:
        yield "workers", f"{UNKNOWN} (the slots changed during each reading)"
        return
    yield "workers", _worker_counts(counts)
    if counts.in_flight is not None:
        yield "in flight", str(counts.in_flight)
    for name, threads in counts.threads.items():
        yield "threads" if name == GTHREAD_POOL else f"pool {name}", pool(threads)
    if interval.utilization is not None:
        yield "utilization", f"{interval.utilization:g} %{_saturated(interval.saturated)}"
    if interval.cpu.used is not None:
        yield "cpu", _cpu(interval.cpu)
    requests = _requests(interval)
    if requests:
        yield "requests", requests
    if interval.waits is not None:
        yield "waits", _waits(interval.waits)
    if interval.delays is not None:
        yield "loop delay", _times(interval.delays)


def _cpu(cpu: CpuUsage) -> str:
    waited = "" if cpu.waited is None else f", waited for a CPU {cpu.waited:.1f} % of the time"
    return f"{cpu.used:.1f} % per worker{waited}"


def _requests(interval: IntervalSummary) -> str:
    facts = []
    if interval.begun is not None:
        facts.append(f"{interval.begun} begun")
    if interval.oldest_s is not None:
        facts.append(f"oldest {duration(interval.oldest_s)}")
    if interval.stranded:
        facts.append(f"{interval.stranded} stranded: a worker is free, but another one has them")
    return ", ".join(facts)


def _waits(waits: WaitSummary) -> str:
    if not waits.requests:
        return "no requests"
    return f"{_times(waits)}, requests {waits.requests}"


def _times(waits: WaitSummary) -> str:
    return (
        f"average {waits.average_ms:.0f} ms, 95 % within {waits.percentile_95_ms:.0f} ms, "
        f"longest {waits.longest_ms:.0f} ms"
    )


def pool(threads: ThreadCounts) -> str:
    """Return the state of a pool of threads in words."""
    idle = "" if threads.idle is None else f"{threads.idle} idle, "
    return f"{idle}{threads.working} working, {threads.queued} queued before them"


def notes(snapshot: Snapshot) -> list[str]:
    """Return the listeners that can't be read and the server's warnings, after an empty line."""
    states = [listener.latest for listener in snapshot.listeners]
    unread = [f"{state.listener}: {state.why}" for state in states if state.why]
    warnings = [f"the server's log: {text}" for text in snapshot.server_info.warnings]
    return ["", *unread, *warnings] if unread or warnings else []


def servers(found: Sequence[Server]) -> str:
    """Return a table of servers. Raises InspectError."""
    rows = [
        (
            str(server.pid),
            info.app,
            ", ".join(ref.listener for ref in info.listeners) or NONE,
            duration(server.age_s),
        )
        for server, info in [(server, server.server_info) for server in found]
    ]
    return "\n".join(table(("pid", "app", "bind", "up"), rows, left=3, first=1))


def _worker_counts(counts: WorkerCounts) -> str:
    if counts.unknown:
        return f"{counts.total}, the states of {counts.unknown} of them are unknown"
    return f"{counts.idle} idle, {counts.working} working, {counts.starting} starting"


def _saturated(saturated: float | None) -> str:
    return "" if saturated is None else f", saturated {saturated:g} % of the time"
