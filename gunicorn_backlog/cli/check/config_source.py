"""The hooks that a config's source binds, in the order of its lines.

The source is parsed by ``ast`` and never run. A hook of the config calls ours if its function
mentions ours.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

HOOKS = ("when_ready", "post_worker_init", "on_exit")
OURS = "gunicorn_backlog.hooks"
_PACKAGE = "gunicorn_backlog"
_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Returns the dotted name of each name that a module has, or exports to ``import *``.
NamesOf = Callable[[str, bool], dict[str, str]]


class Binding(NamedTuple):
    """A statement of the config that binds a hook's name.

    ``is_nested``: the statement is part of another, so it may not be run.
    ``keeps``: the statement is ``hooks.install()``, which keeps an earlier hook.
    ``calls``: whether the value calls our hook; None: the source does not show it.
    """

    hook: str
    line: int
    is_nested: bool
    is_ours: bool
    keeps: bool = False
    calls: bool | None = None


def bindings(source: str, names_of: NamesOf) -> list[Binding]:
    """Return the bindings of hooks in the order of the lines. Raises SyntaxError, ValueError."""
    walk = _Walk(names_of)
    statements = list(_statements(ast.parse(source)))
    for _ in range(2):  # a function may use a name that is bound below it
        walk.found.clear()
        for statement, is_nested in statements:
            walk.read(statement, is_nested)
    # Names as at the module's end, since gunicorn calls the hooks after that.
    return [
        binding._replace(calls=walk.calls(value, binding.hook)) for binding, value in walk.found
    ]


def _statements(parent: ast.AST, is_nested: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield a module's statements, without those of its functions and classes."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.stmt):
            yield node, is_nested
        has_statements = isinstance(node, ast.stmt | ast.excepthandler | ast.match_case)
        if has_statements and not isinstance(node, _SCOPES):
            yield from _statements(node, is_nested=True)


class _Walk:
    """The bindings of hooks, each with its value, and what the module's names refer to."""

    def __init__(self, names_of: NamesOf) -> None:
        self.found: list[tuple[Binding, ast.AST | None]] = []
        self._names_of = names_of
        # Dotted names of ours; empty for what may call ours; without an entry, it does not.
        self._names: dict[str, str] = {}

    def read(self, statement: ast.stmt, is_nested: bool) -> None:
        """Note the hooks that a statement binds, and the names."""
        self._at = statement.lineno, is_nested
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for name, dotted in self._imported(statement):
                self._bind(name, None, dotted)
        elif isinstance(statement, _SCOPES):
            self._bind(statement.name, statement)
        elif (value := getattr(statement, "value", None)) is not None:
            for hook in HOOKS if self._is_install(value) else ():
                self.found.append((Binding(hook, *self._at, is_ours=True, keeps=True), None))
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self._bind(node.id, value, self._dotted(value))

    def calls(self, value: ast.AST | None, hook: str) -> bool | None:
        """Return whether a value, if it is called, calls our hook."""
        mentioned = set() if value is None else set(self._mentioned(value))
        if mentioned & {_PACKAGE, OURS, f"{OURS}.{hook}"}:
            return True
        return None if mentioned or not isinstance(value, ast.FunctionDef | ast.Lambda) else False

    def _bind(self, name: str, value: ast.AST | None, dotted: str | None = None) -> None:
        if name in HOOKS and not (isinstance(value, ast.Constant) and value.value is None):
            is_ours = dotted == f"{OURS}.{name}"
            self.found.append((Binding(name, *self._at, is_ours), value))
        self._names.pop(name, None)
        if dotted is None and value is not None and any(True for _ in self._mentioned(value)):
            dotted = ""
        if dotted is not None and dotted.partition(".")[0] not in sys.stdlib_module_names:
            self._names[name] = dotted if dotted.startswith(_PACKAGE) else ""

    def _mentioned(self, value: ast.AST) -> Iterator[str]:
        """Yield our names inside a value, and an empty string for what may call ours."""
        for node in ast.walk(value):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [dotted for _, dotted in self._imported(node)]
                yield from (dotted for dotted in names if dotted.startswith(_PACKAGE))
            elif isinstance(node, ast.Constant) and _PACKAGE in str(node.value):
                yield ""  # a dynamic import
            elif isinstance(node, ast.Name) and node.id in self._names:
                yield self._names[node.id]

    def _imported(self, statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
        """Yield each name that an import binds, and its dotted name."""
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
                continue
            module = "." * statement.level + (statement.module or "")
            names = self._names_of(module, alias.name == "*")
            if alias.name == "*":
                yield from names.items()
            elif alias.name in names:
                yield alias.asname or alias.name, names[alias.name]

    def _dotted(self, expression: ast.AST) -> str | None:
        """Return the dotted name of ours that an expression refers to."""
        if isinstance(expression, ast.Attribute):
            parent = self._dotted(expression.value)
            return f"{parent}.{expression.attr}" if parent else None
        return self._names.get(expression.id) if isinstance(expression, ast.Name) else None

    def _is_install(self, value: ast.AST) -> bool:
        """Return whether a value is ``hooks.install(globals())``."""
        if not isinstance(value, ast.Call) or self._dotted(value.func) != f"{OURS}.install":
            return False
        return [ast.unparse(argument) for argument in value.args] == ["globals()"]
