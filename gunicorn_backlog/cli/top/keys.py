"""Keys of a terminal, read one by one instead of line by line."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def pressed() -> Iterator[Keys]:
    """Yield the keys of stdin; the terminal's mode is restored at the end.

    Raises OSError if stdin is no terminal.
    """
    fd = sys.stdin.fileno()
    former = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield Keys(fd)
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(fd, termios.TCSADRAIN, former)


class Keys:
    """The keys of a terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, timeout_s: float) -> str:
        """Return the keys pressed within the timeout, or ""; ``q`` if the terminal was closed."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, timeout_s))
        if not ready:
            return ""
        return os.read(self._fd, 1024).decode(errors="replace") or "q"
