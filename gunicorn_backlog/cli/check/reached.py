"""Findings on our hooks, by the functions that gunicorn loaded and by the config's source."""

from __future__ import annotations

import importlib.util
import sys
import tokenize
from collections.abc import Iterator
from typing import Any

from gunicorn_backlog import hooks
from gunicorn_backlog.cli.check.config_source import HOOKS, OURS, Binding, bindings
from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning

_MODULE = "python:"
_FILE = "file:"
_NEEDED = ("when_ready", "post_worker_init")
_INSTALL = (
    "let the config end with: from gunicorn_backlog import hooks; hooks.install(globals()), which "
    "keeps both"
)
_IMPORT = "from gunicorn_backlog.hooks import * in gunicorn.conf.py"


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
        except RecursionError:
            self.unread = f"the source of {location} is not read: it is nested too deeply"
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


def findings(cfg: Any, source: Source | None) -> Iterator[Finding]:
    """Yield a finding for each of our hooks, and one if the config's source could not be read."""
    for name in hooks.__all__:
        bound = source.bindings if source is not None else []
        yield _finding(cfg.settings[name], name, [each for each in bound if each.hook == name])
    if source is not None and source.unread:
        text = f"{source.unread}; a hook of the config that ours replaces can't be found"
        yield warning("hooks", text, _INSTALL)


def _finding(setting: Any, name: str, bound: list[Binding]) -> Finding:
    function = setting.get()
    try:
        if function is getattr(hooks, name):
            return _ours(name, bound)
        if getattr(function, "__gunicorn_backlog__", False) is True:
            text = f"{name} is the config's own and ours: hooks.install() keeps both"
            return ok("hooks", text)
    except Exception:  # any error of an object's own __getattr__
        return _own(name, [])
    if function is setting.default:
        return _lost(name, f"{name} is missing: the config has none", _IMPORT)
    return _own(name, bound)


def _ours(name: str, bound: list[Binding]) -> Finding:
    """Return whether ours, which gunicorn loaded, replaced one of the config's own."""
    last = bound[-1] if bound else None
    if last is not None and not last.is_ours and last.calls is not False and not last.is_nested:
        last = last._replace(is_ours=True)  # an expression that the source does not show
        bound = [*bound[:-1], last]
    if last is not None and not last.is_ours and not _is_doubtful(last, bound):
        text = f"{name} is ours, and may replace the config's own (line {last.line}): the source"
        return warning("hooks", f"{text} does not show where ours is bound", _INSTALL)
    own, found = None, ok("hooks", f"{name} is ours")
    for binding in bound:
        if not binding.is_ours:
            own = binding
        elif own is not None and not binding.keeps:
            condition, level = ("", failed)
            if own.is_nested:
                condition, level = (", if that line is run,", warning)
            text = f"{name} of the config (line {own.line}){condition} is replaced by the import of"
            found = level("hooks", f"{text} ours in line {binding.line}", _INSTALL)
    return found


def _is_doubtful(own: Binding, bound: list[Binding]) -> bool:
    """Return whether the config's own may not be run, or may be ours, after ours was bound."""
    is_unclear = own.is_nested or own.calls is None
    return is_unclear and any(binding.is_ours for binding in bound)


def _own(name: str, bound: list[Binding]) -> Finding:
    """Return whether the config's own, which gunicorn loaded, calls ours."""
    own = [binding for binding in bound if not binding.is_ours]
    calls = {binding.calls for binding in own}
    if len(calls) != 1:  # gunicorn may have loaded any of them, or another
        return _uncertain(f"{name} is the config's own")
    line = own[-1].line
    text = f"{name} is the config's own (line {line})"
    if calls == {True}:
        return ok("hooks", f"{text}, and calls ours")
    if calls == {None}:
        return _uncertain(text)
    ours = [binding.line for binding in bound if binding.is_ours and binding.line < line]
    if not ours:
        return _lost(name, f"{text}, and does not call ours")
    text = f"{name} is bound again (line {line}), after line {ours[-1]} binds ours"
    return _lost(name, f"{text}: ours never runs")


def _uncertain(text: str) -> Finding:
    return warning("hooks", f"{text}; whether it calls ours is unknown", _INSTALL)


def _lost(name: str, text: str, remedy: str = _INSTALL) -> Finding:
    """Return that ours never runs. Without ``on_exit`` only the last push is lost."""
    return (failed if name in _NEEDED else warning)("hooks", text, remedy)
