"""Keys as they are pressed, without waiting for a line."""

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
    """Read keys from the terminal, which is as it was afterwards. Raises OSError: it is none."""
    fd = sys.stdin.fileno()
    former = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield Keys(fd)
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(fd, termios.TCSADRAIN, former)


class Keys:
    """The keys of a terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, timeout_s: float) -> str:
        """Return what was pressed meanwhile, mostly nothing; ``q`` if the terminal is gone."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, timeout_s))
        if not ready:
            return ""
        return os.read(self._fd, 1024).decode(errors="replace") or "q"
