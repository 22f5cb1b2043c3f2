"""The app's log of its requests: all workers write one line at each begin and end.

``+ PID NUMBER TIME`` and ``- PID NUMBER TIME``; the time is CLOCK_MONOTONIC in nanoseconds. One
call appends each line. A killed worker leaves begins without ends.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

_numbers = count()


@contextmanager
def noted() -> Iterator[None]:
    """Write the begin and the end of a request to the file $JOURNAL."""
    number = next(_numbers)
    _note("+", number)
    try:
        yield
    finally:
        _note("-", number)


def _note(sign: str, number: int) -> None:
    line = f"{sign} {os.getpid()} {number} {time.monotonic_ns()}\n"
    flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY
    journal = os.open(os.environ["JOURNAL"], flags, 0o666)
    os.write(journal, line.encode())
    os.close(journal)


class Request(NamedTuple):
    """A completed request."""

    pid: int
    began_ns: int
    ended_ns: int


class Journal:
    """A reader of the log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def in_flight(self) -> Counter[int]:
        """Return the number of requests in flight, by the worker's pid."""
        under_way: Counter[int] = Counter()
        for sign, pid, _, _ in self._lines():
            under_way[pid] += 1 if sign == "+" else -1
        return +under_way

    def requests(self) -> list[Request]:
        """Return the completed requests."""
        began: dict[tuple[int, int], int] = {}
        ended = []
        for sign, pid, number, at_ns in self._lines():
            if sign == "+":
                began[pid, number] = at_ns
            else:
                ended.append(Request(pid, began.pop((pid, number)), at_ns))
        return ended

    def _lines(self) -> Iterator[tuple[str, int, int, int]]:
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            sign, pid, number, at_ns = line.split()
            yield sign, int(pid), int(number), int(at_ns)
