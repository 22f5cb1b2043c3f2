"""Signals that end or stop ``top``: the terminal's mode is restored first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
STOPPING = (signal.SIGTSTP, signal.SIGCONT)


class Stop:
    """A request to stop (ctrl-z), or the end of a stop, after which the terminal may have changed.

    ``requested``: the signal's number, or 0. ``take_effect`` stops the process.
    """

    def __init__(self) -> None:
        self.requested = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal of STOPPING."""
        self.requested = number

    def take_effect(self) -> None:
        """Stop this process if requested, and return when it continues."""
        if self.requested == signal.SIGTSTP:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self.note)
        self.requested = 0


@contextmanager
def handled() -> Iterator[Stop]:
    """Make ENDING raise SystemExit, and note STOPPING; ignored signals stay ignored."""
    stop = Stop()
    handlers = dict.fromkeys(ENDING, _end) | dict.fromkeys(STOPPING, stop.note)
    former = {number: signal.getsignal(number) for number in handlers}
    replaced = [number for number, handler in former.items() if handler != signal.SIG_IGN]
    try:
        for number in replaced:
            signal.signal(number, handlers[number])
        yield stop
    finally:
        for number in replaced:
            signal.signal(number, former[number])


def _end(number: int, frame: FrameType | None) -> None:
    """Exit with the shell's exit code for a program that this signal ended."""
    raise SystemExit(128 + number)
