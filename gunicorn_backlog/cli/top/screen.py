"""One frame of ``top``, which fits the terminal and is readable without colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gunicorn_backlog.cli.inspect.listener_samples import Listener
from gunicorn_backlog.cli.inspect.snapshot import Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.cli.status import text
from gunicorn_backlog.cli.status.rows import WORKER_COLUMNS, listener_row, worker_table
from gunicorn_backlog.cli.status.table import UNKNOWN
from gunicorn_backlog.cli.top.glyphs import Glyphs, bar, sparkline
from gunicorn_backlog.cli.top.history import History

_STATES = {"working": "yellow", "idle": "green", "starting": "cyan", "unknown": "bold red"}
_HEADERS = 3  # lines: the server, the header of the listeners, that of the workers
_LEAST = 8  # lines without the facts: headers, a listener, two workers, a count of more of each
_AMPLE = 5  # lines for workers; with fewer, no line is left empty
_NARROWEST, _WIDEST = 5, 40  # columns of a bar or sparkline
_GAP = 2  # columns between two cells
_BUSY = 90  # percent
MINUTE_PARTS = 60


# Keys of the orders of the workers, by name: the greatest comes first.
SORTS: dict[str, Callable[[Worker], tuple[float, ...]]] = {
    "busiest": lambda worker: (
        worker.in_flight or 0,
        worker.oldest_s or 0,
        worker.utilization or 0,
        -worker.pid,
    ),
    "pid": lambda worker: (-worker.pid,),
    "requests": lambda worker: (worker.requests or 0, -worker.pid),
    "utilization": lambda worker: (worker.utilization or 0, -worker.pid),
}


class View(NamedTuple):
    """The settings of a frame; ``sort``: of SORTS; ``keys``: whether the line of keys is shown."""

    width: int
    height: int
    glyphs: Glyphs
    sort: str = "busiest"
    paused: bool = False
    keys: bool = True


def frame(snapshot: Snapshot, history: History, view: View) -> Group:
    """Return the drawing of a snapshot, at most ``view.height`` lines."""
    facts = _facts(snapshot, view)[: max(1, view.height - _LEAST)]
    room = view.height - len(facts) - _HEADERS - view.keys
    listeners = snapshot.listeners[: max(1, room // 3)]
    room -= len(listeners) + (len(listeners) < len(snapshot.listeners))
    blank = [Text()] if room > _AMPLE else []
    notes = _notes(snapshot, view)[: max(0, min(2, room - _AMPLE))]
    workers = sorted(snapshot.workers, key=SORTS[view.sort], reverse=True)
    rows = max(1, room - 2 * len(blank) - len(notes))
    # If some workers do not fit, a row is left for their count.
    shown = workers if len(workers) <= rows else workers[: max(1, rows - 1)]
    return Group(
        _head(snapshot, view),
        _listener_table(listeners, history, view),
        *_more(len(snapshot.listeners) - len(listeners), "listeners"),
        *blank,
        *facts,
        *blank,
        _worker_table(shown, view),
        *_more(len(workers) - len(shown), "workers"),
        *notes,
        *([_keys(view)] if view.keys else []),
    )


def _head(snapshot: Snapshot, view: View) -> Text:
    line = text.head(snapshot)[0] if snapshot.server_info.enabled else " ".join(text.head(snapshot))
    if view.paused:
        line = f" PAUSED  {line}"
    head = Text(view.glyphs.fit(line, view.width), style="bold", no_wrap=True)
    if view.paused:
        head.stylize("reverse", 0, len(" PAUSED "))
    return head


def _notes(snapshot: Snapshot, view: View) -> list[Text]:
    return [
        Text(view.glyphs.fit(note, view.width), style="bold red", no_wrap=True)
        for note in text.notes(snapshot)
        if note
    ]


def _listener_table(listeners: Sequence[Listener], history: History, view: View) -> Table:
    columns = ("listener", ">backlog", ">limit", "", "last minute", ">highest", ">dropped")
    minutes = [
        history.last_minute(listener.latest.listener, MINUTE_PARTS) for listener in listeners
    ]
    rows = [
        _listener_row(listener, minute, view)
        for listener, minute in zip(listeners, minutes, strict=True)
    ]
    left = view.width - _taken(columns, rows)
    spark = max(_NARROWEST, min(MINUTE_PARTS, left * 3 // 5))
    width = max(_NARROWEST, min(_WIDEST, left - spark))
    table = _table(*columns)
    for listener, row in zip(listeners, rows, strict=True):
        length, most = listener.latest.length or 0, listener.latest.limit
        style = ("bold red" if most is not None and length >= most else "yellow") if length else ""
        drawn = bar(view.glyphs, length, most, width) if most else ""
        minute = history.last_minute(listener.latest.listener, spark)
        cells = [Text(cell) for cell in row]  # rich parses markup in a str
        cells[1].style = style
        cells[3:5] = Text(drawn, style=style), Text(sparkline(view.glyphs, minute), style="cyan")
        cells[6].style = "bold red" if listener.dropped else ""
        table.add_row(*cells)
    return table


def _listener_row(listener: Listener, minute: Sequence[int | None], view: View) -> list[str]:
    """Return the cells of a listener's row; those of the bar and the sparkline are empty."""
    name, backlog, limit, dropped, ever = listener_row(listener)
    highest = max((length for length in minute if length is not None), default=UNKNOWN)
    name = view.glyphs.fit(name, view.width // 3)
    counts = dropped if dropped == ever else f"{dropped} ({ever} ever)"
    return [name, backlog, limit, "", "", str(highest), counts]


def _taken(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width of a table without its bars and sparklines."""
    names = [name.removeprefix(">") if name.startswith(">") else "" for name in columns]
    cells = zip(names, *rows, strict=True)
    return sum(max(map(cell_len, column)) + _GAP for column in cells)


def _facts(snapshot: Snapshot, view: View) -> list[Text]:
    return [
        Text.assemble((f"{name:13}", "dim"), view.glyphs.fit(value, view.width - 13), no_wrap=True)
        for name, value in text.facts(snapshot.interval)
    ]


def _worker_table(workers: Sequence[Worker], view: View) -> Table:
    columns, cells_of = worker_table(workers)
    own = (">pid", "state", ">in flight", ">queued", ">running", ">requests", ">busy")
    columns = (*own, *columns[len(WORKER_COLUMNS) :], "")
    rows = [[*row, ""] for row in cells_of]
    left = max(_NARROWEST, min(_WIDEST, view.width - _taken(columns, rows)))
    table = _table(*columns)
    for worker, row in zip(workers, rows, strict=True):
        busy = worker.utilization
        cells = [Text(cell) for cell in row]
        cells[1].style = _STATES[worker.state]
        drawn = "" if busy is None else bar(view.glyphs, busy, 100, left)
        cells[-1] = Text(drawn, style="yellow" if busy and busy > _BUSY else "green")
        table.add_row(*cells)
    return table


def _table(*columns: str) -> Table:
    """Return an empty table; a column whose name begins with > is aligned right."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:
        justify = "right" if name.startswith(">") else "left"
        table.add_column(
            name.removeprefix(">"),
            justify=justify,  # type: ignore[arg-type]  # one of the two
            no_wrap=True,
            overflow="crop",
        )
    return table


def _more(count: int, what: str) -> Iterator[Text]:
    if count > 0:
        yield Text(f"and {count} more {what}", style="dim")


def _keys(view: View) -> Text:
    order = f"sort: {view.sort}"
    pause = "go on" if view.paused else "pause"
    return Text.assemble(
        ("q", "bold"), " quit  ", ("s", "bold"), f" {order}  ", ("p", "bold"), f" {pause}"
    )
