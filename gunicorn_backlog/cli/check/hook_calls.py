"""Static analysis: whether a hook in a config's source calls ours, by the source's ``ast``."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator

OURS = "gunicorn_backlog.hooks"
_PACKAGE = "gunicorn_backlog"
# They reach functions that no name in the source shows.
_DYNAMIC_BUILTINS = {"__import__", "eval", "exec", "getattr", "globals", "locals", "vars"}
_DYNAMIC_MODULES = {"importlib", "runpy"}

# The dotted name of an import, or the node of a definition; None: the source does not show it.
Meaning = str | ast.AST | None
Names = dict[str, Meaning]


def meaning(expression: ast.AST | None, names: Names) -> Meaning:
    """Return the dotted name that an expression refers to, or the expression itself."""
    if isinstance(expression, ast.Name):
        return names.get(expression.id)
    if isinstance(expression, ast.Attribute):
        parent = meaning(expression.value, names)
        return f"{parent}.{expression.attr}" if isinstance(parent, str) else None
    return expression


def imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Yield each name that an import binds, and the dotted name that it stands for."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            module = "." * statement.level + (statement.module or "")
            yield alias.asname or alias.name, f"{module}.{alias.name}"
        else:
            top = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)


def calls(value: Meaning, hook: str, names: Names) -> bool | None:
    """Return whether a hook of the config calls ours; None: the source does not show it.

    :param names: the module's names at its end, since gunicorn calls the hook after that.
    """
    try:
        return _Search(hook, names).calls(value)
    except RecursionError:  # a chain of some hundred functions
        return None


class _Search:
    """The search for calls of one of our hooks, through the functions of one module."""

    def __init__(self, hook: str, names: Names) -> None:
        self._ours = f"{OURS}.{hook}"
        self._names = names
        self._visited: set[int] = set()

    def calls(self, value: Meaning) -> bool | None:
        """Return whether a call of the value calls ours."""
        if isinstance(value, str):
            return True if value == self._ours else _none_if(_may_call_ours(value))
        if value is None:
            return None
        if id(value) in self._visited or isinstance(value, ast.AsyncFunctionDef):
            return False  # a recursion; or a coroutine, which gunicorn does not await
        self._visited.add(id(value))
        results = set(self._results(value))
        if True in results:
            return True
        return _none_if(None in results or isinstance(value, ast.ClassDef))

    def _results(self, value: ast.AST) -> Iterator[bool | None]:
        """Yield the result for each call and each name inside a value."""
        local = dict(_local_names(value))
        names = self._names | local
        for decorator in getattr(value, "decorator_list", ()):
            yield self._call_result(decorator, names, local)
        for node in ast.walk(value):
            if isinstance(node, ast.Call):
                yield self._call_result(node.func, names, local)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield self._name_result(names.get(node.id))

    def _call_result(self, function: ast.expr, names: Names, local: Names) -> bool | None:
        called = meaning(function, names)
        if isinstance(called, str):
            return self.calls(called)
        root = _root(function)
        if not isinstance(root, ast.Name) or root.id in local:
            return False  # "".join(), or a method of a parameter
        if root.id in names:
            return _none_if(names[root.id] is None)  # _name_result follows the name
        return _none_if(root.id in _DYNAMIC_BUILTINS or not hasattr(builtins, root.id))

    def _name_result(self, value: Meaning) -> bool | None:
        """Return the result for a name, which may be an argument of a function that calls it."""
        if isinstance(value, str):
            return _none_if(value.partition(".")[0] == _PACKAGE)
        return False if value is None else self.calls(value)


def _none_if(uncertain: bool) -> bool | None:
    return None if uncertain else False


def _may_call_ours(name: str) -> bool:
    """Return whether an imported function may call ours: the standard library's do not."""
    top = name.partition(".")[0]
    return top in _DYNAMIC_MODULES or top not in sys.stdlib_module_names


def _local_names(value: ast.AST) -> Iterator[tuple[str, Meaning]]:
    """Yield the names of a function's own: parameters, variables, definitions, imports."""
    for node in ast.walk(value):
        if isinstance(node, ast.arg):
            yield node.arg, None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, None
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node is not value:
            yield node.name, None  # its calls are among those of the function
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)


def _root(expression: ast.expr) -> ast.expr:
    """Return the first part of an expression: ``a`` of ``a.b().c[0]``."""
    while isinstance(expression, ast.Call | ast.Attribute | ast.Subscript):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression
