"""Whether our hooks are reached: by what gunicorn has loaded, and by the source of its config."""

from __future__ import annotations

import importlib.util
import sys
import tokenize
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from gunicorn_backlog import hooks
from gunicorn_backlog.cli.check.config_source import Binding, bindings
from gunicorn_backlog.cli.check.gunicorn_config import (
    CALLS_OURS,
    INSTALLED,
    MAY_REPLACE,
    MISSING,
    OTHER,
    OURS,
    REBOUND,
    REPLACES,
    UNSEEN,
    Hook,
)

_OF_MODULE = "python:"
_OF_FILE = "file:"
_HERE = "gunicorn_backlog.hooks"


class Source:
    """The bindings of hooks in the source of a config; ``unread``: why there are none."""

    def __init__(self, location: str) -> None:
        """Read it, when gunicorn has run it: ``location`` is its setting ``config``."""
        self.bindings: list[Binding] = []
        self.unread = ""
        self._package = ""
        name = location.removeprefix(_OF_MODULE)
        if name == _HERE:
            return
        path = self._module(name) if name != location else location.removeprefix(_OF_FILE)
        try:
            with tokenize.open(path) as file:
                self.bindings = bindings(file.read(), self._is_ours)
        except (OSError, SyntaxError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no Python source"
            self.unread = f"the source of {location} is not read: {why}"

    def _module(self, name: str) -> str:
        """Return where a module's source should be."""
        module = sys.modules[name]
        self._package = module.__package__ or ""
        return str(getattr(module, "__file__", None) or name)

    def _is_ours(self, module: str, name: str) -> bool | None:
        """Return whether what a config imports under that name is ours; None: there is none."""
        try:
            found = sys.modules[importlib.util.resolve_name(module, self._package)]
            exported = getattr(found, "__all__", (name,))
            return getattr(found, name) is getattr(hooks, name, None) if name in exported else None
        except Exception:  # it was not imported, or whatever somebody's module does
            return None


def _is_installed(function: object) -> bool:
    return getattr(function, "__gunicorn_backlog__", False) is True


def reached(setting: Any, name: str, source: Iterable[Binding]) -> Hook:
    """Return how our hook of that name is reached by gunicorn's setting."""
    function = setting.get()
    bound = [it for it in source if it.hook == name]
    try:
        if function is getattr(hooks, name):
            return _where_it_is_ours(bound)
        if _is_installed(function):
            return Hook(INSTALLED)
    except Exception:  # whatever somebody's object does when it is asked for an attribute
        return Hook(UNSEEN)
    if function is setting.default:
        return Hook(MISSING)
    return _where_it_is_their_own(function, bound)


def _where_it_is_ours(bound: list[Binding]) -> Hook:
    """Return whether ours has replaced one of the config's own."""
    ours = _last(bound, lambda it: it.is_ours and not it.keeps)
    if ours is None:
        return Hook(OURS)
    before = bound[: bound.index(ours)]
    own = _last(before, lambda it: not it.is_ours and not it.excludes(ours))
    if own is None:
        return Hook(OURS)
    is_certain = set(own.branches) <= set(ours.branches)
    return Hook(REPLACES if is_certain else MAY_REPLACE, own.line, ours.line)


def _where_it_is_their_own(function: object, bound: list[Binding]) -> Hook:
    """Return whether the config's own calls ours, as far as its source shows it."""
    own = _last(bound, lambda it: not it.is_ours and _is_defined_in(function, it))
    own = own or _last(bound, lambda it: not it.is_ours)
    if own is None:
        return Hook(UNSEEN)
    if own.calls is not False:
        return Hook(CALLS_OURS if own.calls else UNSEEN, own.line)
    ours = _last(bound[: bound.index(own)], lambda it: it.is_ours)
    return Hook(REBOUND, own.line, ours.line) if ours else Hook(OTHER, own.line)


def _is_defined_in(function: object, binding: Binding) -> bool:
    return isinstance(function, FunctionType) and (
        function.__code__.co_firstlineno in binding.lines
    )


def _last(found: list[Binding], condition: Callable[[Binding], bool]) -> Binding | None:
    return next(filter(condition, reversed(found)), None)
