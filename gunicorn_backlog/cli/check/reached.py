"""The reach of our hooks, by the functions that gunicorn loaded and by the config's source."""

from __future__ import annotations

import importlib.util
import sys
import tokenize
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from gunicorn_backlog import hooks
from gunicorn_backlog.cli.check.config_source import Binding, bindings
from gunicorn_backlog.cli.check.gunicorn_config import Hook, Reach
from gunicorn_backlog.cli.check.hook_calls import OURS

_MODULE = "python:"
_FILE = "file:"


class Source:
    """The hooks that a config's source binds.

    ``bindings``: in the order of the lines. ``unread``: the reason why the source was not read,
    or empty.
    """

    def __init__(self, location: str) -> None:
        """Read the source after gunicorn has run it.

        :param location: gunicorn's setting ``config``.
        """
        self.bindings: list[Binding] = []
        self.unread = ""
        self._package = ""
        name = location.removeprefix(_MODULE)
        if name == OURS:
            return
        path = self._module_path(name) if name != location else location.removeprefix(_FILE)
        try:
            with tokenize.open(path) as file:
                self.bindings = bindings(file.read(), self._is_ours)
        except (OSError, SyntaxError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no Python source"
            self.unread = f"the source of {location} is not read: {why}"
        except RecursionError:
            self.unread = f"the source of {location} is not read: it is nested too deeply"

    def _module_path(self, name: str) -> str:
        """Return the path of a module's source, and note the module's package."""
        module = sys.modules[name]
        self._package = module.__package__ or ""
        return str(getattr(module, "__file__", None) or name)

    def _is_ours(self, module: str, name: str) -> bool | None:
        """Return whether a config imports our hook under that name; None: no attribute."""
        try:
            found = sys.modules[importlib.util.resolve_name(module, self._package)]
            exported = getattr(found, "__all__", (name,))
            return getattr(found, name) is getattr(hooks, name, None) if name in exported else None
        except Exception:  # not imported; or any error of a module's own __getattr__
            return None


def reached(setting: Any, name: str, bindings: Iterable[Binding]) -> Hook:
    """Return the reach of our hook ``name``.

    :param setting: gunicorn's setting of that name.
    :param bindings: of the config's source.
    """
    function = setting.get()
    bound = [binding for binding in bindings if binding.hook == name]
    try:
        if function is getattr(hooks, name):
            return _ours(bound)
        if getattr(function, "__gunicorn_backlog__", False) is True:
            return Hook(Reach.INSTALLED)
    except Exception:  # any error of an object's own __getattr__
        return Hook(Reach.UNSEEN)
    return Hook(Reach.MISSING) if function is setting.default else _own(function, bound)


def _ours(bound: list[Binding]) -> Hook:
    """Return the reach of our hook, which gunicorn loaded: it may replace the config's own hook."""
    if hidden := _hidden(bound):
        return Hook(Reach.MAY_HIDE, hidden.line)
    ours = _last(bound, lambda binding: binding.is_ours and not binding.keeps)
    if ours is None:
        return Hook(Reach.OURS)
    before = bound[: bound.index(ours)]
    own = _last(before, lambda binding: not binding.is_ours and not binding.excludes(ours))
    if own is None:
        return Hook(Reach.OURS)
    is_certain = set(own.branches) <= set(ours.branches)
    return Hook(Reach.REPLACES if is_certain else Reach.MAY_REPLACE, own.line, ours.line)


def _hidden(bound: list[Binding]) -> Binding | None:
    """Return the config's own binding that ours may have replaced; no statement shows that.

    After a statement that binds ours, an own one counts only if it was run, and if its value is not
    ours: no branch, and the source shows what it calls.
    """
    own = bound[-1] if bound else None
    if own is None or own.is_ours:
        return None
    has_ours = any(binding.is_ours for binding in bound)
    return None if has_ours and (own.branches or own.calls is None) else own


def _own(function: object, bound: list[Binding]) -> Hook:
    """Return the reach of our hook where gunicorn loaded the config's own, which may call ours."""
    own = _last(bound, lambda binding: not binding.is_ours and _is_defined_in(function, binding))
    own = own or _last(bound, lambda binding: not binding.is_ours)
    if own is None:
        return Hook(Reach.UNSEEN)
    if own.calls is not False:
        return Hook(Reach.CALLS_OURS if own.calls else Reach.UNSEEN, own.line)
    ours = _last(bound[: bound.index(own)], lambda binding: binding.is_ours)
    return Hook(Reach.REBOUND, own.line, ours.line) if ours else Hook(Reach.OTHER, own.line)


def _is_defined_in(function: object, binding: Binding) -> bool:
    return isinstance(function, FunctionType) and (
        function.__code__.co_firstlineno in binding.lines
    )


def _last(bound: list[Binding], condition: Callable[[Binding], bool]) -> Binding | None:
    return next(filter(condition, reversed(bound)), None)
