"""``gunicorn-backlog top``: a live view of one server, in a terminal."""

from __future__ import annotations

import sys
import time

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
    """Shows a server again and again, every ``seconds``; where there is no terminal, once."""

    def __init__(self, server: Server, seconds: float, console: Console | None = None) -> None:
        self._server = server
        self._seconds = seconds
        self._console = console or Console()
        self._history = History()
        blocks = self._console.encoding.lower().startswith("utf")
        self._glyphs = BLOCKS if blocks else ASCII
        self._sort = 0
        self._still: tuple[Snapshot, History] | None = None  # what is shown while it is paused

    def run(self) -> None:
        """Show it until ``q`` is pressed. Raises InspectError."""
        # Asked of the files: FORCE_COLOR and the like make rich call anything a terminal.
        both = sys.stdin.isatty() and self._console.file.isatty()
        if both and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._show()
        else:
            self._print(take_snapshot(self._server, self._seconds))

    def _print(self, look: Snapshot) -> None:
        self._history.add(look)
        width = self._console.width
        rows = len(look.listeners) + len(look.workers) + 40
        self._console.print(frame(look, self._history, View(width, rows, self._glyphs, keys=False)))

    def _show(self) -> None:
        looker = SnapshotTaker(self._server)
        look = looker.begin()
        self._history.add(look)
        with interrupts.heard() as stop:
            while True:
                look = self._show_until_left(looker, look, stop)
                if not stop.asked:
                    return
                stop.take_effect()

    def _show_until_left(self, looker: SnapshotTaker, look: Snapshot, stop: Stop) -> Snapshot:
        """Have the terminal, until it is time to quit or to stop; return the latest look."""
        with (
            keys.pressed() as keyboard,
            Live(console=self._console, screen=True, auto_refresh=False) as live,
        ):
            while not self._watch(live, keyboard, looker, look, stop):
                look = looker.close()
                self._history.add(look)
            return look

    def _watch(
        self, live: Live, keyboard: keys.Keys, looker: SnapshotTaker, look: Snapshot, stop: Stop
    ) -> bool:
        """Show a look, and take the samples of the next; tell whether to leave then."""
        self._draw(live, look)
        size = self._console.size
        end_s = time.monotonic() + self._seconds
        due_s = time.monotonic() + SAMPLE_EVERY_S
        while (now_s := time.monotonic()) < end_s:
            pressed = keyboard.wait(min(due_s, end_s) - now_s)
            if "q" in pressed or stop.asked:
                return True
            self._hear(pressed, look)
            if pressed or size != self._console.size:
                size = self._console.size
                self._draw(live, look)
            if time.monotonic() >= due_s:
                looker.sample()
                due_s += SAMPLE_EVERY_S
        looker.sample()
        return False

    def _hear(self, pressed: str, look: Snapshot) -> None:
        for key in pressed:
            if key == "s":
                self._sort = (self._sort + 1) % len(SORTS)
            elif key == "p":
                still = look, self._history.at_rest()
                self._still = still if self._still is None else None

    def _draw(self, live: Live, look: Snapshot) -> None:
        width, height = self._console.size
        view = View(width, height, self._glyphs, SORTS[self._sort], paused=self._still is not None)
        shown, history = self._still or (look, self._history)
        live.update(frame(shown, history, view), refresh=True)
