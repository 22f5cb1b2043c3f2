"""What matters of gunicorn's config: written by ``read_config``, read by ``config``."""

from __future__ import annotations

from typing import NamedTuple

OURS, INSTALLED, CALLS_OURS = "ours", "installed", "calls ours"
REPLACES, MAY_REPLACE = "replaces", "may replace"  # ours the config's own
REBOUND, OTHER, UNSEEN, MISSING = "rebound", "other", "unseen", "missing"


class Hook(NamedTuple):
    """The way in which one of our hooks is reached, and the lines that bind it; 0: no line."""

    how: str
    own_line: int = 0
    our_line: int = 0


class GunicornConfig(NamedTuple):
    """The parts of a config that ``check`` reports on.

    ``hooks`` holds for each of our hooks how it is reached, ``unread`` why the source of the config
    is not read. ``own_metric``: gunicorn itself pushes ``gunicorn.backlog``.
    """

    worker_class: str
    kind: int | None  # None: the class can't be loaded, ``wrong`` says why
    wrong: str
    backlog: int
    hooks: dict[str, Hook]
    unread: str
    own_metric: bool
    backlog_type: str
    enabled: bool
    agent: str
    disabled: bool  # by Datadog's own variable
    unusable: list[str]
