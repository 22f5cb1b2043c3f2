"""Reads gunicorn's config as gunicorn does, in a process of its own, for it runs the config file.

    python -m gunicorn_backlog.checking.read_config FD [GUNICORN'S ARGUMENTS]

writes what ``GunicornConfig`` holds to the descriptor, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from gunicorn.app.base import Application

from gunicorn_backlog import hooks, settings, workers
from gunicorn_backlog.address import is_disabled
from gunicorn_backlog.checking.gunicorn_config import (
    CALLS_OURS,
    MISSING,
    OTHER,
    OURS,
    GunicornConfig,
)
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
    fd = int(sys.argv[1])
    sys.argv = ["gunicorn", *sys.argv[2:]]
    config = read(_Reading("%(prog)s [OPTIONS] [APP_MODULE]").cfg)
    with os.fdopen(fd, "w") as out:
        json.dump(config._asdict(), out)


def read(cfg: Any) -> GunicornConfig:
    """Return what matters of gunicorn's config. Raises ConfigError.

    Like gunicorn, it puts what ``raw_env`` says into the environment first.
    """
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
    return CALLS_OURS if _mentions(function) else OTHER


def _mentions(function: Callable[..., object]) -> bool:
    """Tell whether a function's code names our hooks, as a global or in an import of its own."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    ours = {
        hooks,
        *(getattr(hooks, name) for name in hooks.__all__),
        sys.modules["gunicorn_backlog"],
    }
    there = getattr(function, "__globals__", {})
    return any(
        name.partition(".")[0] == "gunicorn_backlog" or _is_one_of(there.get(name), ours)
        for name in _names(code)
    )


def _is_one_of(found: object, ours: set[Any]) -> bool:
    return any(found is it for it in ours)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


if __name__ == "__main__":
    main()
