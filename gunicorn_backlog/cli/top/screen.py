"""One frame of ``top``: drawn to fit, and readable without a colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gunicorn_backlog.cli.inspect.snapshot import Listener, Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.cli.status import text
from gunicorn_backlog.cli.top.glyphs import Glyphs, bar, sparkline
from gunicorn_backlog.cli.top.history import History

_STATES = {"working": "yellow", "idle": "green", "starting": "cyan", "unknown": "bold red"}
_HEADERS = 3  # lines: whose it is, the listeners' names of columns, the workers'
_LEAST = 8  # lines beside the facts: a listener, two workers, how many more there are of each
_AMPLE = 5  # lines for workers; less is too little to leave any empty
_NARROWEST, _WIDEST = 5, 40  # of what is drawn
_GAP = 2  # between two columns
_BUSY = 90  # percent
MINUTE_PARTS = 60


class Sort(NamedTuple):
    """An order of the workers; the greatest come first."""

    name: str
    key: Callable[[Worker], tuple[float, ...]]


SORTS = (
    Sort("busiest", lambda it: (it.in_flight or 0, it.oldest_s or 0, it.utilization or 0, -it.pid)),
    Sort("pid", lambda it: (-it.pid,)),
    Sort("requests", lambda it: (it.requests or 0, -it.pid)),
    Sort("utilization", lambda it: (it.utilization or 0, -it.pid)),
)


class View(NamedTuple):
    """How it is shown."""

    width: int
    height: int
    glyphs: Glyphs
    sort: Sort = SORTS[0]
    paused: bool = False
    keys: bool = True  # whether any are heard


def frame(look: Snapshot, history: History, view: View) -> Group:
    """Draw what was seen, in as many lines as there are, or less."""
    facts = _facts(look, view)[: max(1, view.height - _LEAST)]
    room = view.height - len(facts) - _HEADERS - view.keys
    listeners = look.listeners[: max(1, room // 3)]
    room -= len(listeners) + (len(listeners) < len(look.listeners))
    blank = [Text()] if room > _AMPLE else []
    notes = _notes(look, view)[: max(0, min(2, room - _AMPLE))]
    workers = sorted(look.workers, key=view.sort.key, reverse=True)
    shown = _at_most(max(1, room - 2 * len(blank) - len(notes)), workers)
    return Group(
        _head(look, view),
        _listener_table(listeners, history, view),
        *_more(len(look.listeners) - len(listeners), "listeners"),
        *blank,
        *facts,
        *blank,
        _worker_table(shown, view),
        *_more(len(workers) - len(shown), "workers"),
        *notes,
        *([_keys(view)] if view.keys else []),
    )


def _at_most(rows: int, workers: Sequence[Worker]) -> Sequence[Worker]:
    """Return those for which there are rows, one of which says how many more there are."""
    return workers if len(workers) <= rows else workers[: max(1, rows - 1)]


def _head(look: Snapshot, view: View) -> Text:
    line = text.head(look)[0] if look.server_info.enabled else " ".join(text.head(look))
    if view.paused:
        line = f" PAUSED  {line}"
    head = Text(view.glyphs.fit(line, view.width), style="bold", no_wrap=True)
    if view.paused:
        head.stylize("reverse", 0, len(" PAUSED "))
    return head


def _notes(look: Snapshot, view: View) -> list[Text]:
    return [
        Text(view.glyphs.fit(it, view.width), style="bold red", no_wrap=True)
        for it in text.notes(look)
        if it
    ]


def _listener_table(listeners: Sequence[Listener], history: History, view: View) -> Table:
    columns = ("listener", ">backlog", ">limit", "", "last minute", ">highest", ">dropped")
    minutes = [history.of(seen.latest.listener, MINUTE_PARTS) for seen in listeners]
    rows = [
        _listener_row(seen, minute, view) for seen, minute in zip(listeners, minutes, strict=True)
    ]
    left = view.width - _taken(columns, rows)
    spark = max(_NARROWEST, min(MINUTE_PARTS, left * 3 // 5))
    width = max(_NARROWEST, min(_WIDEST, left - spark))
    table = _table(*columns)
    for seen, row in zip(listeners, rows, strict=True):
        length, most = seen.latest.length, seen.latest.limit
        style = _how_full(length, most)
        drawn = bar(view.glyphs, length or 0, most, width) if most else ""
        minute = history.of(seen.latest.listener, spark)
        cells = [Text(cell) for cell in row]  # what is not one, rich looks for its markup in
        cells[1].style = style
        cells[3:5] = Text(drawn, style=style), Text(sparkline(view.glyphs, minute), style="cyan")
        cells[6].style = "bold red" if seen.dropped else ""
        table.add_row(*cells)
    return table


def _listener_row(seen: Listener, minute: Sequence[int | None], view: View) -> list[str]:
    """Return the cells of a listener's row, without what is drawn."""
    name, backlog, limit, dropped, ever = text.listener_row(seen)
    highest = max((it for it in minute if it is not None), default=text.UNKNOWN)
    name = view.glyphs.fit(name, view.width // 3)
    return [name, backlog, limit, "", "", str(highest), _dropped(dropped, ever)]


def _taken(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how many columns of the screen a table takes without what is drawn in it."""
    names = [name.removeprefix(">") if name.startswith(">") else "" for name in columns]
    cells = zip(names, *rows, strict=True)
    return sum(max(map(cell_len, column)) + _GAP for column in cells)


def _dropped(lately: str, ever: str) -> str:
    return lately if lately == ever else f"{lately} ({ever} ever)"


def _how_full(length: int | None, limit: int | None) -> str:
    if not length:
        return ""
    return "bold red" if limit is not None and length >= limit else "yellow"


def _facts(look: Snapshot, view: View) -> list[Text]:
    return [
        Text.assemble((f"{name:13}", "dim"), view.glyphs.fit(value, view.width - 13), no_wrap=True)
        for name, value in text.facts(look.interval)
    ]


def _worker_table(workers: Sequence[Worker], view: View) -> Table:
    columns = (">pid", "state", ">in flight", ">queued", ">running", ">requests", ">busy", "")
    rows = [[*text.worker_row(seen), ""] for seen in workers]
    left = max(_NARROWEST, min(_WIDEST, view.width - _taken(columns, rows)))
    table = _table(*columns)
    for seen, row in zip(workers, rows, strict=True):
        busy = seen.utilization
        cells = [Text(cell) for cell in row]
        cells[1].style = _STATES[seen.state]
        drawn = "" if busy is None else bar(view.glyphs, busy, 100, left)
        cells[7] = Text(drawn, style="yellow" if busy and busy > _BUSY else "green")
        table.add_row(*cells)
    return table


def _table(*columns: str) -> Table:
    """Return an empty table; a column whose name begins with > ends at the right."""
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
    order = f"sort: {view.sort.name}"
    pause = "go on" if view.paused else "pause"
    return Text.assemble(
        ("q", "bold"), " quit  ", ("s", "bold"), f" {order}  ", ("p", "bold"), f" {pause}"
    )
