"""The parts of gunicorn's config that ``check`` reports on.

``read_config`` writes them as JSON in a process of its own, ``config`` reads them.
"""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_backlog.cli.check.findings import Finding


class GunicornConfig(NamedTuple):
    """The parts of a config that ``check`` reports on.

    ``kind``: the worker class's ``slot.Kind``; None: the class can't be loaded, because of
    ``load_error``. ``hooks``: the findings on them. ``own_metric``: gunicorn itself pushes
    ``gunicorn.backlog``. ``disabled``: by Datadog's ``DD_DOGSTATSD_DISABLE``. ``unusable``: texts
    about settings with unusable values.
    """

    worker_class: str
    kind: int | None
    load_error: str
    backlog: int
    hooks: list[Finding]
    own_metric: bool
    backlog_type: str
    enabled: bool
    agent: str
    disabled: bool
    unusable: list[str]
