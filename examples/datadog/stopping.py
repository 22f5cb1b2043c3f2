"""Interruption by Ctrl-C, SIGTERM or the end of a terminal (SIGHUP), at permitted places."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Converts these signals to one KeyboardInterrupt, raised only at permitted places.

    At other places the first signal is postponed to the next permitted place, and later signals are
    ignored. The undo of a run can therefore not be interrupted.
    """

    def __init__(self) -> None:
        self._asked = self._allowed = False

    def listen(self) -> None:
        """Handle the signals; a signal that is ignored at the start (nohup) stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self._ask())

    def _ask(self) -> None:
        first = not self._asked
        self._asked = True
        if first and self._allowed:
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Permit a KeyboardInterrupt inside of the context; a postponed one is raised at once."""
        if self._asked:
            raise KeyboardInterrupt
        try:
            self._allowed = True
            yield
        finally:
            self._allowed = False
