"""Signals that end or stop a program whose terminal is not as it was: that has to be put back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
STOPPING = (signal.SIGTSTP, signal.SIGCONT)


class Stop:
    """Whether somebody asked to stop (ctrl-z), or had stopped us: the terminal was others' since.

    Nothing is done about it until ``take_effect`` is called.
    """

    def __init__(self) -> None:
        self.asked = 0  # the signal's number

    def note(self, number: int, frame: FrameType | None) -> None:
        """Be the handler of STOPPING."""
        self.asked = number

    def take_effect(self) -> None:
        """Stop, if that was asked for, and return when it goes on; the terminal is as it was."""
        if self.asked == signal.SIGTSTP:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self.note)
        self.asked = 0


@contextmanager
def heard() -> Iterator[Stop]:
    """Have ENDING raise SystemExit meanwhile, and note STOPPING; what was ignored still is."""
    stop = Stop()
    handlers = dict.fromkeys(ENDING, _end) | dict.fromkeys(STOPPING, stop.note)
    former = {it: signal.getsignal(it) for it in handlers}
    heeded = [it for it, handler in former.items() if handler != signal.SIG_IGN]
    try:
        for number in heeded:
            signal.signal(number, handlers[number])
        yield stop
    finally:
        for number in heeded:
            signal.signal(number, former[number])


def _end(number: int, frame: FrameType | None) -> None:
    """End with the exit code that a shell gives to a program which the signal ended."""
    raise SystemExit(128 + number)
