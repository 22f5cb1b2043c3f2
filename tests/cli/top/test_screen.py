"""A frame of ``top`` shows names literally, and fits the screen."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.cells import cell_len
from rich.console import Console

from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listener_samples import Listener
from gunicorn_backlog.cli.inspect.listeners import ListenerState
from gunicorn_backlog.cli.inspect.memory import Memory
from gunicorn_backlog.cli.inspect.snapshot import Snapshot
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.cli.top.glyphs import ASCII
from gunicorn_backlog.cli.top.history import History
from gunicorn_backlog.cli.top.screen import View, frame
from gunicorn_backlog.sampling.window import IntervalSummary
from gunicorn_backlog.sampling.worker_counts import WorkerCounts
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from tests.cli.inspect.test_memory import ABOUT

COUNTS = WorkerCounts(idle=1, working=0, starting=0, unknown=0, in_flight=0)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with our own memory."""
    scoreboard = Scoreboard(slots=4, thread_rows=8)
    memory = Memory(f"/proc/self/fd/{scoreboard._fd}")
    yield Server(pid=1, began_ns=0, memory=memory)
    memory.close()


def seen(server: Server, listener: str, lengths: tuple[int, ...]) -> Snapshot:
    """Return a snapshot of a listener with that name, and of one idle worker."""
    latest = ListenerState(listener, lengths[-1], limit=10, drops={7: 0})
    listeners = (Listener(lengths, None, 0, latest),)
    interval = IntervalSummary((), {}, COUNTS, 0)
    return Snapshot(server, ABOUT, 60.0, 1.0, listeners, (Worker(2, "idle", 0, 1),), interval)


def drawn(look: Snapshot, history: History) -> str:
    """Return the printed frame of a snapshot."""
    console = Console(file=io.StringIO(), width=100)
    console.print(frame(look, history, View(100, 24, ASCII, keys=False)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", ["/run/:bug:/app.sock", "/run/[bold]/app.sock"])
def test_a_name_is_not_taken_for_markup(name: str, server: Server) -> None:
    """Markup of the drawing library in a name is printed literally."""
    assert f"\n{name}  " in drawn(seen(server, name, (3,)), History())


def test_wide_letters_are_cut_to_fit(server: Server) -> None:
    """A name of two-column letters leaves room for the other columns."""
    wide = "\u6f22" * 60
    lines = drawn(seen(server, f"/{wide}", (3,)), History()).splitlines()
    (listener,) = [line for line in lines if line.startswith("/\u6f22")]
    assert max(map(cell_len, lines)) <= 100
    assert {"3", "10"} <= set(listener.split())
