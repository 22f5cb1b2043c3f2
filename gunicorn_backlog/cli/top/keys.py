"""Keys of a terminal, read one by one instead of line by line."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def pressed() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits for keys of stdin; the terminal's mode is restored at the end.

    The function takes a timeout in seconds, and returns the keys pressed within it, or ""; ``q`` if
    the terminal was closed.

    Raises OSError if stdin is no terminal.
    """
    fd = sys.stdin.fileno()
    former = termios.tcgetattr(fd)
    tty.setcbreak(fd)

    def wait(timeout_s: float) -> str:
        ready, _, _ = select.select([fd], [], [], max(0.0, timeout_s))
        return (os.read(fd, 1024).decode(errors="replace") or "q") if ready else ""

    try:
        yield wait
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(fd, termios.TCSADRAIN, former)
