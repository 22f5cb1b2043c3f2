"""The hooks that a config's source binds, in order, and which of them are ours.

The source is parsed by ``ast`` and never run. ``lookup`` resolves names of other modules.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gunicorn_backlog.cli.check.hook_calls import OURS, Meaning, Names, calls, imported, meaning

HOOKS = ("when_ready", "post_worker_init", "on_exit")
_MAPPINGS = {"globals", "locals", "vars"}

# Returns whether a module's attribute of that name is our hook; None: no attribute.
Lookup = Callable[[str, str], bool | None]
# For each enclosing statement with alternatives: its line, and the index of the alternative.
Branches = tuple[tuple[int, int], ...]


class Binding(NamedTuple):
    """A statement of the config that binds a hook's name.

    ``lines``: those of the statement, decorators included.
    ``keeps``: the statement is ``hooks.install()``, which keeps an earlier hook.
    ``calls``: whether the value calls our hook; None: the source does not show it.
    """

    hook: str
    line: int
    lines: range
    is_ours: bool
    keeps: bool = False
    calls: bool | None = None
    branches: Branches = ()

    def excludes(self, other: Binding) -> bool:
        """Return whether the two are in alternatives of a statement: at most one of them is run."""
        theirs = dict(other.branches)
        return any(theirs.get(line, arm) != arm for line, arm in self.branches)


def bindings(source: str, lookup: Lookup) -> list[Binding]:
    """Return the bindings of hooks in the order of the lines. Raises SyntaxError, ValueError."""
    walk = _Walk(lookup)
    for statement, branches in _statements(ast.parse(source).body):
        walk.read(statement, branches)
    return [
        binding
        if binding.is_ours
        else binding._replace(calls=calls(value, binding.hook, walk.names | former))
        for binding, value, former in walk.found
    ]


def _statements(
    block: list[ast.stmt], around: Branches = ()
) -> Iterator[tuple[ast.stmt, Branches]]:
    """Yield the statements of a module, without those of its functions and classes."""
    for statement in block:
        yield statement, around
        for arm, inner in enumerate(_arms(statement)):
            yield from _statements(inner, (*around, (statement.lineno, arm)))
        straight = statement.body if isinstance(statement, ast.With) else []
        yield from _statements([*straight, *getattr(statement, "finalbody", ())], around)


def _arms(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the alternatives that a statement has."""
    if isinstance(statement, ast.If):
        return [statement.body, statement.orelse]
    if isinstance(statement, ast.For | ast.While):
        return [[*statement.body, *statement.orelse]]
    if isinstance(statement, ast.Match):
        return [case.body for case in statement.cases]
    if hasattr(statement, "handlers"):  # Try, TryStar
        handlers = [handler.body for handler in statement.handlers]
        return [[*statement.body, *statement.orelse], *handlers]  # type: ignore[attr-defined]  # a Try
    return []


class _Walk:
    """The meaning of a module's names, statement by statement.

    ``names``: their meanings after the last statement read. ``found``: each binding of a hook, the
    value that it binds, and the hook's former meaning, if the value is computed from that.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.names: Names = {}
        self.found: list[tuple[Binding, Meaning, Names]] = []
        self._lookup = lookup

    def read(self, statement: ast.stmt, branches: Branches) -> None:
        """Note the hooks that a statement binds, and the new meanings of its names."""
        self._at = statement, branches
        if isinstance(statement, ast.Import):
            for name, dotted in imported(statement):
                self._bind(name, dotted)
        elif isinstance(statement, ast.ImportFrom):
            self._import_from(statement)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._bind(statement.name, statement)
        elif _is_install(statement, self.names):
            for hook in HOOKS:
                self._note(hook, is_ours=True, keeps=True)
        else:
            for name, value in _targets(statement):
                self._bind(name, meaning(value, self.names))

    def _import_from(self, statement: ast.ImportFrom) -> None:
        for alias, dotted in imported(statement):
            module, _, name = dotted.rpartition(".")
            if name == "*":
                for hook in HOOKS:
                    self._import(module, hook, hook)
            else:
                self._import(module, name, alias)

    def _import(self, module: str, name: str, alias: str) -> None:
        if module == OURS or alias not in HOOKS:
            self._bind(alias, f"{module}.{name}")
        elif (is_ours := self._lookup(module, name)) is not None:
            self._bind(alias, f"{OURS}.{alias}" if is_ours else f"{module}.{name}")

    def _bind(self, name: str, value: Meaning) -> None:
        # An expression is evaluated at once; a function's names have their meaning when it runs.
        is_evaluated = isinstance(value, ast.expr) and not isinstance(value, ast.Lambda)
        former = {name: self.names[name]} if is_evaluated and name in self.names else {}
        self.names[name] = value
        if name in HOOKS and not (isinstance(value, ast.Constant) and value.value is None):
            self._note(name, is_ours=value == f"{OURS}.{name}", value=value, former=former)

    def _note(
        self,
        hook: str,
        *,
        is_ours: bool,
        keeps: bool = False,
        value: Meaning = None,
        former: Names | None = None,
    ) -> None:
        statement, branches = self._at
        decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
        lines = range(first, (statement.end_lineno or first) + 1)
        binding = Binding(hook, statement.lineno, lines, is_ours, keeps, branches=branches)
        self.found.append((binding, value, former or {}))


def _is_install(statement: ast.stmt, names: Names) -> bool:
    """Return whether a statement is ``hooks.install(globals())``."""
    call = getattr(statement, "value", None)
    if not isinstance(call, ast.Call) or meaning(call.func, names) != f"{OURS}.install":
        return False
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    functions = [argument.func for argument in arguments if isinstance(argument, ast.Call)]
    return any(isinstance(name, ast.Name) and name.id in _MAPPINGS for name in functions)


def _targets(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names that a statement binds, and the value, if an expression gives it."""
    targets: list[ast.expr] = []
    value = getattr(statement, "value", None)
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and value is not None:
        targets = [statement.target]
    elif isinstance(statement, ast.For):
        targets, value = [statement.target], None
    elif isinstance(statement, ast.With):
        targets = [item.optional_vars for item in statement.items if item.optional_vars is not None]
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value
            continue
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, None
