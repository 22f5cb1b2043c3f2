"""The results of a check: one line each, and the exit code of the worst."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from gunicorn_backlog.config.tags import printable


class Level(IntEnum):
    """Severity; the maximum of all findings is the exit code."""

    OK = 0
    WARNING = 1
    FAILED = 2


class Finding(NamedTuple):
    """The result of one check.

    ``what``: the subject of the check. ``text``: its result. ``remedy``: for a problem, or empty.
    """

    level: Level
    what: str
    text: str
    remedy: str = ""


def ok(what: str, text: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Level.OK, what, text)


def warning(what: str, text: str, remedy: str) -> Finding:
    """Return a finding that part of the measurement is missing or unknown."""
    return Finding(Level.WARNING, what, text, remedy)


def failed(what: str, text: str, remedy: str) -> Finding:
    """Return a finding that an essential part of the measurement is missing."""
    return Finding(Level.FAILED, what, text, remedy)


def lines(finding: Finding) -> list[str]:
    """Return the finding's line, and a second line with the remedy if there is one."""
    found = [f"{finding.level.name.lower():8} {finding.what:13} {printable(finding.text)}"]
    return [*found, f"{'':22} -> {printable(finding.remedy)}"] if finding.remedy else found
