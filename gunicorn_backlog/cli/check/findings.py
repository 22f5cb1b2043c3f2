"""What a check found: one line each, and the exit code that they come to."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from gunicorn_backlog.config.tags import printable


class Level(IntEnum):
    """How bad it is; the worst of all is the exit code."""

    OK = 0
    WARNING = 1
    FAILED = 2


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and what helps."""

    level: Level
    what: str
    text: str
    remedy: str = ""


def ok(what: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, what, text)


def warning(what: str, text: str, remedy: str) -> Finding:
    """Return a finding that something is missing, and all else is there."""
    return Finding(Level.WARNING, what, text, remedy)


def failed(what: str, text: str, remedy: str) -> Finding:
    """Return a finding that what matters is missing."""
    return Finding(Level.FAILED, what, text, remedy)


def lines(findings: Iterable[Finding]) -> list[str]:
    """Return a line for each, and another for its remedy."""
    found = []
    for level, what, text, remedy in findings:
        found.append(f"{level.name.lower():8} {what:13} {printable(text)}")
        if remedy:
            found.append(f"{'':22} -> {printable(remedy)}")
    return found
