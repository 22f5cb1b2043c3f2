"""The parts of gunicorn's config that ``check`` reports on.

``read_config`` writes them as JSON in a process of its own, ``config`` reads them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Reach(str, Enum):
    """The relation of one of our hooks to gunicorn's config."""

    OURS = "ours"
    INSTALLED = "installed"  # by hooks.install(), which keeps the config's own hook
    CALLS_OURS = "calls ours"  # the config's own hook does
    REPLACES = "replaces"  # our import replaces the config's own hook
    MAY_REPLACE = "may replace"  # the same, if a branch of the config is run
    MAY_HIDE = "may hide"  # the same, without a line: the source does not show where ours is bound
    REBOUND = "rebound"  # the config's own hook replaces ours
    OTHER = "other"  # the config's own hook, which does not call ours
    UNSEEN = "unseen"  # the config's own hook; its source does not show whether it calls ours
    MISSING = "missing"


class Hook(NamedTuple):
    """The reach of one of our hooks, and the lines that bind the config's own hook and ours.

    A line is 0 where the source has none.
    """

    reach: Reach
    own_line: int = 0
    our_line: int = 0


class GunicornConfig(NamedTuple):
    """The parts of a config that ``check`` reports on.

    ``kind``: the worker class's ``slot.Kind``; None: the class can't be loaded, because of
    ``load_error``. ``hooks``: by name. ``unread``: why the config's source was not read, or empty.
    ``own_metric``: gunicorn itself pushes ``gunicorn.backlog``. ``disabled``: by Datadog's
    ``DD_DOGSTATSD_DISABLE``. ``unusable``: texts about settings with unusable values.
    """

    worker_class: str
    kind: int | None
    load_error: str
    backlog: int
    hooks: dict[str, Hook]
    unread: str
    own_metric: bool
    backlog_type: str
    enabled: bool
    agent: str
    disabled: bool
    unusable: list[str]
