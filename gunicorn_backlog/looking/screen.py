"""One frame of ``top``: drawn to fit, and readable without a colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gunicorn_backlog.looking import text
from gunicorn_backlog.looking.glyphs import Glyphs, bar, sparkline
from gunicorn_backlog.looking.history import History
from gunicorn_backlog.looking.look import Listener, Look
from gunicorn_backlog.looking.workers import Worker

_STATES = {"working": "yellow", "idle": "green", "starting": "cyan", "unknown": "bold red"}
_WORDY = 4  # rows of listeners, and of workers, that there is always room for


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


def frame(look: Look, history: History, view: View) -> Group:
    """Draw what was seen."""
    head = Text(_fit(" ".join(text.head(look)[:1]), view.width), style="bold", no_wrap=True)
    if view.paused:
        head = Text.assemble((" PAUSED ", "reverse"), " ", head)
    facts = _facts(look, view)
    notes = [Text(it, style="bold red") for it in text.notes(look)[1:]][:2]
    rest = view.height - 4 - len(facts) - len(notes) - view.keys
    listeners = look.listeners[: max(_WORDY, rest // 3)]
    workers = sorted(look.workers, key=view.sort.key, reverse=True)
    room = max(1, rest - len(listeners) - 2)
    return Group(
        head,
        _of_listeners(listeners, history, view),
        *_more(len(look.listeners) - len(listeners), "listeners"),
        Text(),
        *facts,
        Text(),
        _of_workers(workers[:room] if len(workers) <= room else workers[: room - 1], view),
        *_more(len(workers) - room + 1 if len(workers) > room else 0, "workers"),
        *(_one_line(note, view) for note in notes),
        *([_keys(view)] if view.keys else []),
    )


def _of_listeners(listeners: Sequence[Listener], history: History, view: View) -> Table:
    spark, width = view.width // 4, view.width // 5
    table = _table("listener", ">backlog", ">limit", "", "last minute", ">highest", ">dropped")
    for seen in listeners:
        name, backlog, limit, dropped, ever = text.listener_row(seen)
        length, most = seen.latest.length, seen.latest.limit
        minute = history.of(name, spark)
        style = _how_full(length, most)
        table.add_row(
            name,
            Text(backlog, style=style),
            limit,
            Text(bar(view.glyphs, length or 0, most or 0, width) if most else "", style=style),
            sparkline(view.glyphs, minute),
            str(max((it for it in minute if it is not None), default=text.UNKNOWN)),
            Text(_dropped(dropped, ever), style="bold red" if seen.dropped else ""),
        )
    return table


def _dropped(lately: str, ever: str) -> str:
    return lately if lately in (text.NONE, text.UNKNOWN) else f"{lately} ({ever} ever)"


def _how_full(length: int | None, limit: int | None) -> str:
    if not length:
        return ""
    return "bold red" if limit is not None and length >= limit else "yellow"


def _facts(look: Look, view: View) -> list[Text]:
    return [
        _one_line(Text.assemble((f"{name:12}", "dim"), value), view)
        for name, value in text.facts(look.interval)
    ]


def _of_workers(workers: Sequence[Worker], view: View) -> Table:
    table = _table(">pid", "state", ">in flight", ">queued", ">running", ">requests", ">busy", "")
    for seen in workers:
        pid, state, *numbers = text.worker_row(seen)
        busy = seen.utilization
        drawn = "" if busy is None else bar(view.glyphs, busy, 100, view.width // 5)
        table.add_row(pid, Text(state, style=_STATES[seen.state]), *numbers, drawn)
    return table


def _table(*columns: str) -> Table:
    """Return an empty table; a column whose name begins with > ends at the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:
        justify = "right" if name.startswith(">") else "left"
        table.add_column(
            name.removeprefix(">"),
            justify=justify,  # type: ignore[arg-type]  # one of the two
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _more(count: int, what: str) -> Iterator[Text]:
    if count > 0:
        yield Text(f"and {count} more {what}", style="dim")


def _one_line(line: Text, view: View) -> Text:
    line.no_wrap = True
    line.truncate(view.width, overflow="ellipsis")
    return line


def _keys(view: View) -> Text:
    order = f"sort: {view.sort.name}"
    pause = "go on" if view.paused else "pause"
    return Text.assemble(
        ("q", "bold"), " quit  ", ("s", "bold"), f" {order}  ", ("p", "bold"), f" {pause}"
    )


def _fit(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"
