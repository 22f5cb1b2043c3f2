"""``gunicorn-backlog top``: a live view of one server, in a terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.live import Live

from gunicorn_backlog.looking import keys
from gunicorn_backlog.looking.glyphs import ASCII, BLOCKS
from gunicorn_backlog.looking.history import History
from gunicorn_backlog.looking.look import SAMPLE_EVERY_S, Look, Looker, looked
from gunicorn_backlog.looking.screen import SORTS, View, frame
from gunicorn_backlog.looking.servers import Server


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
        self._shown: Look | None = None  # what is frozen, while it is paused

    def run(self) -> None:
        """Show it until ``q`` is pressed. Raises LookError."""
        # Asked of the files: FORCE_COLOR and the like make rich call anything a terminal.
        both = sys.stdin.isatty() and self._console.file.isatty()
        if both and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._show()
        else:
            self._print(looked(self._server, self._seconds))

    def _print(self, look: Look) -> None:
        self._history.add(look)
        width = self._console.width
        rows = len(look.listeners) + len(look.workers) + 40
        self._console.print(frame(look, self._history, View(width, rows, self._glyphs, keys=False)))

    def _show(self) -> None:
        looker = Looker(self._server)
        look = looker.begin()
        with (
            keys.pressed() as keyboard,
            Live(console=self._console, screen=True, auto_refresh=False) as live,
        ):
            while True:
                self._history.add(look)
                if self._watch(live, keyboard, looker, look):
                    return
                look = looker.close()

    def _watch(self, live: Live, keyboard: keys.Keys, looker: Looker, look: Look) -> bool:
        """Show a look, and take the samples of the next; tell whether it is time to quit."""
        self._draw(live, look)
        size = self._console.size
        end_s = time.monotonic() + self._seconds
        due_s = time.monotonic() + SAMPLE_EVERY_S
        while (now_s := time.monotonic()) < end_s:
            pressed = keyboard.wait(min(due_s, end_s) - now_s)
            if "q" in pressed:
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

    def _hear(self, pressed: str, look: Look) -> None:
        for key in pressed:
            if key == "s":
                self._sort = (self._sort + 1) % len(SORTS)
            elif key == "p":
                self._shown = look if self._shown is None else None

    def _draw(self, live: Live, look: Look) -> None:
        width, height = self._console.size
        view = View(width, height, self._glyphs, SORTS[self._sort], paused=self._shown is not None)
        live.update(frame(self._shown or look, self._history, view), refresh=True)
