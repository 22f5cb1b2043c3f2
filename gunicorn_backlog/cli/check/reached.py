"""How our hooks are reached: by the functions that gunicorn loaded, and by the config's source."""

from __future__ import annotations

import importlib.util
import sys
import tokenize
from typing import Any

from gunicorn_backlog import hooks
from gunicorn_backlog.cli.check.config_source import HOOKS, OURS, Binding, bindings
from gunicorn_backlog.cli.check.gunicorn_config import Hook, Reach

_MODULE = "python:"
_FILE = "file:"


class Source:
    """The hooks that a config's source binds.

    ``bindings``: in the order of the lines. ``unread``: why the source was not read, or empty.
    """

    def __init__(self, location: str) -> None:
        """Read the source after gunicorn has run it.

        :param location: gunicorn's setting ``config``.
        """
        self.bindings: list[Binding] = []
        self.unread = ""
        name = location.removeprefix(_MODULE)
        if name == OURS:
            return
        module = sys.modules[name] if name != location else None
        self._package = getattr(module, "__package__", None) or ""
        path = getattr(module, "__file__", None) or location.removeprefix(_FILE)
        try:
            with tokenize.open(path) as file:
                self.bindings = bindings(file.read(), self._names_of)
        except (OSError, SyntaxError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no Python source"
            self.unread = f"the source of {location} is not read: {why}"

    def _names_of(self, name: str, exported: bool) -> dict[str, str]:
        """Return the dotted names of what a module has; ours also if another module imports it."""
        try:
            module = sys.modules[importlib.util.resolve_name(name, self._package)]
        except (KeyError, ImportError, ValueError):
            return {}
        found = vars(module)
        names = found.get("__all__", found) if exported else found
        ours = {hook for hook in HOOKS if found.get(hook) is getattr(hooks, hook)}
        return {it: f"{OURS if it in ours else name}.{it}" for it in names}


def reached(setting: Any, name: str, bindings: list[Binding]) -> Hook:
    """Return how our hook of a name is reached by gunicorn's setting of that name."""
    function = setting.get()
    bound = [binding for binding in bindings if binding.hook == name]
    try:
        if function is getattr(hooks, name):
            return _ours(bound)
        if getattr(function, "__gunicorn_backlog__", False) is True:
            return Hook(Reach.INSTALLED)
    except Exception:  # any error of an object's own __getattr__
        return Hook(Reach.UNSEEN)
    return Hook(Reach.MISSING) if function is setting.default else _own(bound)


def _ours(bound: list[Binding]) -> Hook:
    """Return whether ours, which gunicorn loaded, replaced one of the config's own."""
    own = None
    replaced = Hook(Reach.OURS)
    for binding in bound:
        if not binding.is_ours:
            own = binding
        elif own is not None and not binding.keeps:
            reach = Reach.MAY_REPLACE if own.is_nested else Reach.REPLACES
            replaced = Hook(reach, own.line, binding.line)
    return replaced


def _own(bound: list[Binding]) -> Hook:
    """Return whether the config's own, which gunicorn loaded, calls ours."""
    own = [binding for binding in bound if not binding.is_ours]
    calls = {binding.calls for binding in own}
    if len(calls) != 1:  # gunicorn may have loaded any of them, or another
        return Hook(Reach.UNSEEN)
    line = own[-1].line
    if calls != {False}:
        return Hook(Reach.CALLS_OURS if calls == {True} else Reach.UNSEEN, line)
    ours = [binding.line for binding in bound if binding.is_ours and binding.line < line]
    return Hook(Reach.REBOUND, line, ours[-1]) if ours else Hook(Reach.OTHER, line)
