"""Which hooks the source of a config binds, in which order, and where ours are among them.

The source is parsed by ``ast`` and never run. ``lookup`` returns what other modules define.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gunicorn_backlog.cli.check.hook_calls import OURS, Meaning, Names, calls, meaning

HOOKS = ("when_ready", "post_worker_init", "on_exit")
_MAPPINGS = {"globals", "locals", "vars"}

# Returns whether a module's attribute of that name is ours; None: it has none.
Lookup = Callable[[str, str], bool | None]
# For each statement around a line that has alternatives: its line, and which one it is.
Branches = tuple[tuple[int, int], ...]
_Place = tuple[ast.stmt, Branches]


class Binding(NamedTuple):
    """A statement of the config that gives a hook's name a value.

    ``lines``: those of the statement, decorators included.
    ``keeps``: it is ``hooks.install()``, which keeps what was bound before.
    ``calls``: whether the value calls our hook; None: that can't be seen.
    """

    hook: str
    line: int
    lines: range
    is_ours: bool
    keeps: bool = False
    calls: bool | None = None
    branches: Branches = ()

    def excludes(self, other: Binding) -> bool:
        """Return whether only one of the two is run: they are in alternatives of a statement."""
        theirs = dict(other.branches)
        return any(theirs.get(line, arm) != arm for line, arm in self.branches)


def bindings(source: str, lookup: Lookup) -> list[Binding]:
    """Return the bindings of hooks in the order of the lines. Raises SyntaxError, ValueError."""
    walk = _Walk(lookup)
    for statement, branches in _statements(ast.parse(source).body):
        walk.read(statement, branches)
    return [
        it if it.is_ours else it._replace(calls=calls(value, it.hook, walk.names))
        for it, value in walk.found
    ]


def _statements(block: list[ast.stmt], around: Branches = ()) -> Iterator[_Place]:
    """Yield the statements of a module, those of its functions and classes left out."""
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
        return [it.body for it in statement.cases]
    if hasattr(statement, "handlers"):  # Try, TryStar
        handlers = [it.body for it in statement.handlers]
        return [[*statement.body, *statement.orelse], *handlers]  # type: ignore[attr-defined]  # it is a Try
    return []


class _Walk:
    """The meanings of a module's names, statement by statement."""

    def __init__(self, lookup: Lookup) -> None:
        self.names: Names = {}
        self.found: list[tuple[Binding, Meaning]] = []
        self._lookup = lookup

    def read(self, statement: ast.stmt, branches: Branches) -> None:
        """Note which hooks the statement binds, and what its names stand for from there on."""
        self._at = statement, branches
        if isinstance(statement, ast.Import):
            for it in statement.names:
                top = it.name.partition(".")[0]
                self._bind(it.asname or top, it.name if it.asname else top)
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
        module = "." * statement.level + (statement.module or "")
        for it in statement.names:
            for name in HOOKS if it.name == "*" else (it.name,):
                alias = name if it.name == "*" else it.asname or name
                if module == OURS or alias not in HOOKS:
                    self._bind(alias, f"{module}.{name}")
                elif (is_ours := self._lookup(module, name)) is not None:
                    self._bind(alias, f"{OURS}.{alias}" if is_ours else f"{module}.{name}")

    def _bind(self, name: str, value: Meaning) -> None:
        self.names[name] = value
        if name in HOOKS and not (isinstance(value, ast.Constant) and value.value is None):
            self._note(name, is_ours=value == f"{OURS}.{name}", value=value)

    def _note(
        self, hook: str, *, is_ours: bool, keeps: bool = False, value: Meaning = None
    ) -> None:
        statement, branches = self._at
        decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(it.lineno for it in decorators)])
        lines = range(first, (statement.end_lineno or first) + 1)
        binding = Binding(hook, statement.lineno, lines, is_ours, keeps, branches=branches)
        self.found.append((binding, value))


def _is_install(statement: ast.stmt, names: Names) -> bool:
    """Return whether it is ``hooks.install(globals())``."""
    call = getattr(statement, "value", None)
    if not isinstance(call, ast.Call) or meaning(call.func, names) != f"{OURS}.install":
        return False
    given = [*call.args, *(it.value for it in call.keywords)]
    functions = [it.func for it in given if isinstance(it, ast.Call)]
    return any(isinstance(it, ast.Name) and it.id in _MAPPINGS for it in functions)


def _targets(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names that a statement binds, and the value where it is an expression's."""
    targets: list[ast.expr] = []
    value = getattr(statement, "value", None)
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and value is not None:
        targets = [statement.target]
    elif isinstance(statement, ast.For):
        targets, value = [statement.target], None
    elif isinstance(statement, ast.With):
        targets = [it.optional_vars for it in statement.items if it.optional_vars is not None]
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value
            continue
        for it in ast.walk(target):
            if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Store):
                yield it.id, None
