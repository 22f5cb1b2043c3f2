"""The pushes of a real server over a time, and their file.

The file's lines, after comments that begin with #:

    lasts_s <tab> seconds                  duration, including silence at the end
    series  <tab> name|type|tag,tag        one line each, numbered from 0 by their order
    at_s    <tab> value <tab> value ...    a push: of each series its value, or values joined by :,
                                           or - where this push had none, or nothing where the
                                           cell equals that of the push before
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent import Datagram, Line

from tests.lab.pushes import complete

NONE = "-"
Push = tuple[float, tuple[Line, ...]]  # seconds since the begin of the recording, and lines
SeriesKey = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Recording:
    """Pushes in the order of time, and the duration of the recording."""

    pushes: tuple[Push, ...]
    lasts_s: float

    @classmethod
    def of(cls, datagrams: Iterable[Datagram], began_s: float, ended_s: float) -> Recording:
        """Return the recording of the lines between two times of the monotonic clock."""
        pushes = tuple(
            (push[0].at_s - began_s, tuple(line for datagram in push for line in datagram.lines))
            for push in complete(datagrams)
            if began_s <= push[0].at_s <= ended_s
        )
        return cls(pushes, ended_s - began_s)

    def write(self, path: Path, comment: str) -> None:
        """Write the recording to a file. Raises OSError."""
        keys = sorted({_key(line) for _, lines in self.pushes for line in lines})
        rows = [f"# {line}" for line in comment.splitlines()]
        rows.append(f"lasts_s\t{self.lasts_s:.2f}")
        rows += [f"series\t{name}|{kind}|{','.join(tags)}" for name, kind, tags in keys]
        before = [""] * len(keys)
        for at_s, lines in self.pushes:
            values = {_key(line): ":".join(f"{value:g}" for value in line.values) for line in lines}
            cells = [values.get(key, NONE) for key in keys]
            changed = [
                "" if cell == same else cell for cell, same in zip(cells, before, strict=True)
            ]
            rows.append("\t".join([f"{at_s:.2f}", *changed]))
            before = cells
        path.write_text("\n".join(rows) + "\n")

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a recording from a file. Raises OSError, ValueError."""
        keys: list[tuple[str, str, frozenset[str]]] = []
        lines: list[Line | None] = []  # the latest one of each series
        pushes: list[Push] = []
        lasts_s = 0.0
        for row in path.read_text().splitlines():
            head, *cells = row.split("\t")
            if head == "series":
                name, kind, tags = cells[0].split("|")
                keys.append((name, kind, frozenset(tags.split(","))))
                lines.append(None)
            elif head == "lasts_s":
                lasts_s = float(cells[0])
            elif not head.startswith("#"):
                lines = [
                    _line(key, cell) if cell else same
                    for key, cell, same in zip(keys, cells, lines, strict=True)
                ]
                pushes.append((float(head), tuple(line for line in lines if line)))
        return cls(tuple(pushes), lasts_s)


def _key(line: Line) -> SeriesKey:
    return line.name, line.type, tuple(sorted(line.tags))


def _line(key: tuple[str, str, frozenset[str]], cell: str) -> Line | None:
    if cell == NONE:
        return None
    name, kind, tags = key
    return Line(name, kind, tuple(map(float, cell.split(":"))), tags)
