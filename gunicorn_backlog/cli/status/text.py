"""A snapshot, and a list of servers, as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import Listener, Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.sampling.cpu import CpuUsage
from gunicorn_backlog.sampling.window import IntervalSummary
from gunicorn_backlog.sampling.worker_counts import GTHREAD_POOL, ThreadCounts, WorkerCounts
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

UNKNOWN = "?"  # a value that exists and can't be read
BLOCKED_S = 0.1  # a shorter iteration of an event loop is not shown as a block
NONE = "-"  # a value that does not exist
SWITCHED_OFF = (
    "switched off (enabled=False): nothing is pushed, and new workers are not instrumented"
)
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


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


LISTENER_COLUMNS = ("listener", "backlog", "limit", "dropped", "ever")


def listener_row(listener: Listener) -> tuple[str, ...]:
    """Return a listener's cells; drops are NONE where the kernel does not count them."""
    latest = listener.latest
    length = _or_unknown(latest.length)
    if listener.deepest is not None and latest.max_length is not None:
        length += f" (longest {latest.max_length})"
    uncounted = UNKNOWN if latest.why else NONE
    return (
        latest.listener,
        length,
        _or_unknown(latest.limit),
        uncounted if listener.dropped is None else str(listener.dropped),
        uncounted if listener.dropped_ever is None else str(listener.dropped_ever),
    )


def _or_unknown(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


WORKER_COLUMNS = ("pid", "state", "in flight", "queued", "running", "requests", "utilization")


def worker_table(workers: Sequence[Worker]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns and the rows; the last column is there if a worker has an event loop."""
    rows = [worker_row(worker) for worker in workers]
    if not has_loops(workers):
        return WORKER_COLUMNS, rows
    cells = [loop_cell(worker) for worker in workers]
    return (*WORKER_COLUMNS, "loop"), [(*row, cell) for row, cell in zip(rows, cells, strict=True)]


def has_loops(workers: Iterable[Worker]) -> bool:
    """Return whether a worker has an event loop."""
    return any(worker.blocked_s is not None or worker.pools for worker in workers)


def loop_cell(worker: Worker) -> str:
    """Return since when a worker's event loop is blocked, and the state of its pools."""
    facts = []
    if worker.blocked_s is not None and worker.blocked_s >= BLOCKED_S:
        facts.append(f"blocked {duration(worker.blocked_s)}")
    for name, threads in worker.pools:
        size = "" if threads.idle is None else f"/{threads.idle + threads.working}"
        queued = f" +{threads.queued}" if threads.queued else ""
        facts.append(f"{name} {threads.working}{size}{queued}")
    return ", ".join(facts) or NONE


def worker_row(worker: Worker) -> tuple[str, ...]:
    """Return a worker's cells."""
    unknown = worker.in_flight is None
    in_flight = _or_unknown(worker.in_flight)
    return (
        str(worker.pid),
        worker.state,
        in_flight if worker.capacity is None else f"{in_flight}/{worker.capacity}",
        _number(worker.queued, unknown),
        NONE if worker.oldest_s is None else duration(worker.oldest_s),
        _number(worker.requests, unknown),
        _number(worker.utilization, unknown, "%"),
    )


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
        yield _pool_title(name), pool(threads)
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


def _pool_title(name: str) -> str:
    return "threads" if name == GTHREAD_POOL else f"pool {name}"


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


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int, first: int = 0
) -> Iterator[str]:
    """Yield the lines of a table.

    :param left: number of columns from ``first`` on that are aligned left; others align right.
    """
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if first <= at < first + left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def duration(seconds: float) -> str:
    """Return a duration in its two greatest units: ``0.4 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = int(seconds)
    number = next(number for number, (size, _) in enumerate(_UNITS) if whole >= size)
    (size, unit), (smaller, name) = _UNITS[number : number + 2]
    return f"{whole // size} {unit} {whole % size // smaller} {name}"


def _number(value: float | None, unknown: bool, unit: str = "") -> str:
    if value is None:
        return UNKNOWN if unknown else NONE
    return f"{value:.0f}{unit}"


def _worker_counts(counts: WorkerCounts) -> str:
    if counts.unknown:
        return f"{counts.total}, the states of {counts.unknown} of them are unknown"
    return f"{counts.idle} idle, {counts.working} working, {counts.starting} starting"


def _saturated(saturated: float | None) -> str:
    return "" if saturated is None else f", saturated {saturated:g} % of the time"
