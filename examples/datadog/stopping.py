"""Ctrl-C, SIGTERM and the end of a terminal (SIGHUP), where they can be obeyed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Turns these signals into one KeyboardInterrupt, and that only where it is allowed.

    Between, it is put off until the next place; a second one changes nothing. So what has to be
    done when we are stopped is done to its end.
    """

    def __init__(self) -> None:
        self._asked = self._allowed = False

    def listen(self) -> None:
        """Take over the signals; those that we were started to ignore stay ignored (nohup)."""
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
        """Raise KeyboardInterrupt when a signal comes, or if one came before."""
        if self._asked:
            raise KeyboardInterrupt
        try:
            self._allowed = True
            yield
        finally:
            self._allowed = False
