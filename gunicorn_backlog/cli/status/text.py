"""What was seen of a server, and a list of servers, as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import Listener, Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.sampling.window import IntervalSummary
from gunicorn_backlog.sampling.worker_counts import WorkerCounts
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

UNKNOWN = "?"  # it can't be told
NONE = "-"  # there is no such thing
SWITCHED_OFF = "switched off (enabled=False): nothing is pushed, and new workers are not watched"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def status(look: Snapshot) -> str:
    """Return all that was seen."""
    return "\n".join(
        [
            *head(look),
            "",
            *table(LISTENER_COLUMNS, map(listener_row, look.listeners), left=1),
            "",
            *(f"{name:12} {value}" for name, value in facts(look.interval)),
            "",
            *table(WORKER_COLUMNS, map(worker_row, look.workers), left=0),
            *notes(look),
        ]
    )


def head(look: Snapshot) -> list[str]:
    """Return what server it is."""
    about = look.about
    return [
        f"{about.app}: pid {look.server.pid}, gunicorn {about.gunicorn}, {about.worker_class}, "
        f"up {duration(look.age_s)}",
        _pushes(about) if about.enabled else SWITCHED_OFF,
    ]


def _pushes(about: ServerInfo) -> str:
    line = f"pushes every {about.interval_s:g} s to {about.agent} (from {about.agent_from})"
    if about.agent_error == DISABLED:
        return f"does not push to {about.agent}: {DISABLED}"
    return f"{line}; the latest met {about.agent_error}" if about.agent_error else line


LISTENER_COLUMNS = ("listener", "backlog", "limit", "dropped", "ever")


def listener_row(seen: Listener) -> tuple[str, ...]:
    """Return a listener's row: what can't be read is UNKNOWN, what nobody counts is NONE."""
    latest = seen.latest
    length = UNKNOWN if latest.length is None else str(latest.length)
    if seen.deepest is not None and latest.max_length is not None:
        length += f" (longest {latest.max_length})"
    nobody = UNKNOWN if latest.why else NONE
    return (
        latest.listener,
        length,
        UNKNOWN if latest.limit is None else str(latest.limit),
        nobody if seen.dropped is None else str(seen.dropped),
        nobody if seen.dropped_ever is None else str(seen.dropped_ever),
    )


WORKER_COLUMNS = ("pid", "state", "in flight", "queued", "running", "requests", "utilization")


def worker_row(seen: Worker) -> tuple[str, ...]:
    """Return a worker's row."""
    unknown = seen.in_flight is None
    in_flight = UNKNOWN if unknown else str(seen.in_flight)
    return (
        str(seen.pid),
        seen.state,
        in_flight if seen.capacity is None else f"{in_flight}/{seen.capacity}",
        _number(seen.queued, unknown),
        NONE if seen.oldest_s is None else duration(seen.oldest_s),
        _number(seen.requests, unknown),
        _number(seen.utilization, unknown, "%"),
    )


def facts(interval: IntervalSummary) -> Iterator[tuple[str, str]]:
    """Yield what is told of all workers together."""
    crew = interval.counts
    if crew is None:
        yield "workers", f"{UNKNOWN} (they changed whenever they were read)"
        return
    yield "workers", _worker_text(crew)
    if crew.in_flight is not None:
        yield "in flight", str(crew.in_flight)
    if crew.threads is not None:
        idle, working, queued = crew.threads
        yield "threads", f"{idle} idle, {working} working, {queued} queued before them"
    if interval.utilization is not None:
        yield "utilization", f"{interval.utilization:g} %{_saturated(interval.saturated)}"
    if interval.waits is not None:
        yield "waits", of_waits(interval.waits)


def of_waits(waits: WaitSummary) -> str:
    """Return how long requests waited."""
    if not waits.requests:
        return "no request was taken"
    return (
        f"average {waits.average_ms:.0f} ms, 95 % within {waits.percentile_95_ms:.0f} ms, "
        f"longest {waits.longest_ms:.0f} ms, requests {waits.requests}"
    )


def notes(look: Snapshot) -> list[str]:
    """Return what could not be read, and what the server itself warned of."""
    unread = [f"{it.latest.listener}: {it.latest.why}" for it in look.listeners if it.latest.why]
    warned = [f"the server says: {it}" for it in look.about.warnings]
    return ["", *unread, *warned] if unread or warned else []


def servers(found: Sequence[Server]) -> str:
    """Return a table of servers. Raises LookError."""
    rows = [
        (
            str(server.pid),
            about.app,
            ", ".join(place.listener for place in about.listeners) or NONE,
            duration(server.age_s),
        )
        for server, about in [(it, it.about) for it in found]
    ]
    return "\n".join(table(("pid", "app", "bind", "up"), rows, left=3, first=1))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int, first: int = 0
) -> Iterator[str]:
    """Yield the lines of a table.

    :param left: so many columns from ``first`` on begin at the left; numbers end at the right.
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
    """Return a duration in its greatest units: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    for number, (size, unit) in enumerate(_UNITS):
        if whole >= size:
            smaller, name = (*_UNITS, (1, "s"))[number + 1]
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"


def _number(value: float | None, unknown: bool, unit: str = "") -> str:
    if value is None:
        return UNKNOWN if unknown else NONE
    return f"{value:.0f}{unit}"


def _worker_text(crew: WorkerCounts) -> str:
    if crew.unknown:
        return f"{crew.total}, what {crew.unknown} of them do is not known"
    return f"{crew.idle} idle, {crew.working} working, {crew.starting} starting"


def _saturated(saturated: float | None) -> str:
    return "" if saturated is None else f", saturated {saturated:g} % of the time"
