"""``gunicorn-backlog top``: a live view of one server, in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import cycle

from rich.console import Console
from rich.live import Live

from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import (
    SAMPLE_EVERY_S,
    Snapshot,
    SnapshotTaker,
    take_snapshot,
)
from gunicorn_backlog.cli.top import interrupts, keys
from gunicorn_backlog.cli.top.glyphs import ASCII, BLOCKS
from gunicorn_backlog.cli.top.history import History
from gunicorn_backlog.cli.top.interrupts import Stop
from gunicorn_backlog.cli.top.screen import SORTS, View, frame


class Top:
    """Draws a server every ``seconds``, or once if input or output is not a terminal."""

    def __init__(self, server: Server, seconds: float, console: Console | None = None) -> None:
        self._server = server
        self._seconds = seconds
        self._console = console or Console()
        self._history = History()
        blocks = self._console.encoding.lower().startswith("utf")
        self._glyphs = BLOCKS if blocks else ASCII
        self._sorts = cycle(SORTS)
        self._sort = next(self._sorts)
        self._paused: tuple[Snapshot, History] | None = None  # the picture during a pause

    def run(self) -> None:
        """Draw until ``q`` is pressed. Raises InspectError."""
        # isatty() of both files: with FORCE_COLOR, rich takes any file for a terminal.
        both = sys.stdin.isatty() and self._console.file.isatty()
        if both and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._draw_until_quit()
        else:
            self._print(take_snapshot(self._server, self._seconds))

    def _print(self, snapshot: Snapshot) -> None:
        self._history.add(snapshot)
        rows = len(snapshot.listeners) + len(snapshot.workers) + 40
        view = View(self._console.width, rows, self._glyphs, keys=False)
        self._console.print(frame(snapshot, self._history, view))

    def _draw_until_quit(self) -> None:
        taker = SnapshotTaker(self._server)
        snapshot = taker.begin()
        self._history.add(snapshot)
        with interrupts.handled() as stop:
            while True:
                snapshot = self._draw_until_left(taker, snapshot, stop)
                if not stop.requested:
                    return
                stop.take_effect()

    def _draw_until_left(self, taker: SnapshotTaker, snapshot: Snapshot, stop: Stop) -> Snapshot:
        """Use the terminal until a quit or a stop; return the latest snapshot."""
        with (
            keys.pressed() as wait,
            Live(console=self._console, screen=True, auto_refresh=False) as live,
        ):
            while not self._draw_and_sample(live, wait, taker, snapshot, stop):
                snapshot = taker.close()
                self._history.add(snapshot)
            return snapshot

    def _draw_and_sample(
        self,
        live: Live,
        wait: Callable[[float], str],
        taker: SnapshotTaker,
        snapshot: Snapshot,
        stop: Stop,
    ) -> bool:
        """Draw a snapshot and take the samples of the next; return whether to quit or stop."""
        self._draw(live, snapshot)
        size = self._console.size
        end_s = time.monotonic() + self._seconds
        due_s = time.monotonic() + SAMPLE_EVERY_S
        while (now_s := time.monotonic()) < end_s:
            pressed = wait(min(due_s, end_s) - now_s)
            if "q" in pressed or stop.requested:
                return True
            self._handle(pressed, snapshot)
            if pressed or size != self._console.size:
                size = self._console.size
                self._draw(live, snapshot)
            if time.monotonic() >= due_s:
                taker.sample()
                due_s += SAMPLE_EVERY_S
        taker.sample()
        return False

    def _handle(self, pressed: str, snapshot: Snapshot) -> None:
        for key in pressed:
            if key == "s":
                self._sort = next(self._sorts)
            elif key == "p":
                picture = snapshot, self._history.frozen()
                self._paused = picture if self._paused is None else None

    def _draw(self, live: Live, snapshot: Snapshot) -> None:
        width, height = self._console.size
        is_paused = self._paused is not None
        view = View(width, height, self._glyphs, self._sort, paused=is_paused)
        shown, history = self._paused or (snapshot, self._history)
        live.update(frame(shown, history, view), refresh=True)
