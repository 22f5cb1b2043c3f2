"""Reads gunicorn's config as gunicorn does, in a process of its own, for it runs the config file.

``main`` takes ``FD [GUNICORN'S ARGUMENTS]`` and writes what ``GunicornConfig`` holds to that
descriptor, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from gunicorn.app.base import Application

from gunicorn_backlog import hooks, settings, workers
from gunicorn_backlog.address import is_disabled
from gunicorn_backlog.checking.gunicorn_config import (
    CALLS_OURS,
    MISSING,
    OTHER,
    OURS,
    UNTOLD,
    GunicornConfig,
)
from gunicorn_backlog.checking.reaching import reaches
from gunicorn_backlog.configuring import configured
from gunicorn_backlog.slot import Kind


class _Reading(Application):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's application without an app."""

    def init(self, parser: object, opts: object, args: object) -> None:
        """Take no app."""

    def load(self) -> None:
        """Load none."""


def main() -> None:
    """Read, and write."""
    fd, pid = int(sys.argv[1]), os.getpid()
    sys.argv = ["gunicorn", *sys.argv[2:]]
    config = read(_Reading("%(prog)s [OPTIONS] [APP_MODULE]").cfg)
    if os.getpid() != pid:  # the config has forked, and this is the child
        return
    with os.fdopen(fd, "w") as out:
        json.dump(config._asdict(), out)


def read(cfg: Any) -> GunicornConfig:
    """Return what matters of gunicorn's config. Raises ConfigError.

    Like gunicorn, it puts what ``pythonpath`` and ``raw_env`` say into their places first.
    """
    _insert_paths(cfg.pythonpath)
    os.environ.update(cfg.env)
    told = settings.load(cfg, configured.values)
    kind, wrong = _kind(cfg)
    return GunicornConfig(
        worker_class=cfg.worker_class_str,
        kind=kind,
        wrong=wrong,
        backlog=cfg.backlog,
        hooks={name: _reached(cfg.settings[name], name) for name in hooks.__all__},
        enabled=told.enabled,
        agent=str(told.address),
        disabled=is_disabled(os.environ),
        unusable=list(told.unusable),
    )


def _insert_paths(given: str | None) -> None:
    """Put the folders, with commas between, first on the path; the last of them is the first."""
    for folder in map(os.path.abspath, given.split(",") if given else ()):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _kind(cfg: Any) -> tuple[int | None, str]:
    try:
        family = workers.family_of(cfg.worker_class)
    except Exception as error:  # whatever the import of somebody's module raises
        first, *_, last = (str(error).strip() or type(error).__name__).splitlines() * 2
        return None, first if first == last else f"{first.strip()} {last.strip('[] ')}"
    return int(Kind.UNKNOWN if family is None else family.kind), ""


def _reached(setting: Any, name: str) -> str:
    """Return how our hook of that name is reached by gunicorn's setting, as far as one can see."""
    function = setting.get()
    if function is getattr(hooks, name):
        return OURS
    if function is setting.default:
        return MISSING
    try:
        return {True: CALLS_OURS, False: OTHER, None: UNTOLD}[reaches(function)]
    except Exception:  # whatever somebody's object raises when it is asked for its name
        return UNTOLD
