"""What matters of gunicorn's config: written by ``read_config``, read by ``config``."""

from __future__ import annotations

from typing import NamedTuple

OURS, CALLS_OURS, OTHER, MISSING = "ours", "calls ours", "other", "missing"
UNTOLD = "can't be told"


class GunicornConfig(NamedTuple):
    """What matters of a config; ``hooks`` says of each of our hooks how it is reached."""

    worker_class: str
    kind: int | None  # None: the class can't be loaded, ``wrong`` says why
    wrong: str
    backlog: int
    hooks: dict[str, str]
    enabled: bool
    agent: str
    disabled: bool  # by Datadog's own variable
    unusable: list[str]
