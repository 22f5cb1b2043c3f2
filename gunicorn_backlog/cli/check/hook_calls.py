"""Whether a hook in a config's source calls ours, as far as its ``ast`` shows it."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator

OURS = "gunicorn_backlog.hooks"
_PACKAGE = "gunicorn_backlog"
# They reach what no name in the source shows.
_DYNAMIC_BUILTINS = {"__import__", "eval", "exec", "getattr", "globals", "locals", "vars"}
_DYNAMIC_MODULES = {"importlib", "runpy"}

# A dotted name of what was imported, or what was defined; None: it can't be seen.
Meaning = str | ast.AST | None
Names = dict[str, Meaning]
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def meaning(expression: ast.AST | None, names: Names) -> Meaning:
    """Return what an expression stands for: an imported name, or the expression itself."""
    if isinstance(expression, ast.Name):
        return names.get(expression.id)
    if isinstance(expression, ast.Attribute):
        of = meaning(expression.value, names)
        return f"{of}.{expression.attr}" if isinstance(of, str) else None
    return expression


def calls(value: Meaning, hook: str, names: Names) -> bool | None:
    """Return whether a hook of the config calls ours; None: that can't be seen.

    ``names`` is what the module's names stand for at its end, as when the hook is called.
    """
    return _Search(hook, names).calls(value)


class _Search:
    """The search for calls of one of our hooks, through the functions of one module."""

    def __init__(self, hook: str, names: Names) -> None:
        self._ours = f"{OURS}.{hook}"
        self._names = names
        self._seen: set[int] = set()

    def calls(self, value: Meaning) -> bool | None:
        """Return whether a call of the value calls ours."""
        if isinstance(value, str):
            return True if value == self._ours else _unless(_may_be_anything(value))
        if value is None or id(value) in self._seen:
            return None if value is None else False  # it calls itself: the first look decides
        self._seen.add(id(value))
        if isinstance(value, ast.AsyncFunctionDef):
            return False  # gunicorn does not await it
        found = set(self._called(value))
        if True in found:
            return True
        return None if None in found or isinstance(value, ast.ClassDef) else False

    def _called(self, value: ast.AST) -> Iterator[bool | None]:
        """Yield for each call and each name in it whether ours is called by that."""
        local = _local_names(value)
        names = self._names | local
        for decorator in getattr(value, "decorator_list", ()):
            yield self._of_call(decorator, names, local)
        for node in ast.walk(value):
            if isinstance(node, ast.Call):
                yield self._of_call(node.func, names, local)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield self._of_name(names.get(node.id))

    def _of_call(self, function: ast.expr, names: Names, local: Names) -> bool | None:
        called = meaning(function, names)
        if isinstance(called, str):
            return self.calls(called)
        root = _root(function)
        if not isinstance(root, ast.Name) or root.id in local:
            return False  # such as "".join(), and what is called of its own parameters
        if root.id in names:
            return False if names[root.id] is not None else None  # the name itself is looked at
        return _unless(root.id in _DYNAMIC_BUILTINS or not hasattr(builtins, root.id))

    def _of_name(self, value: Meaning) -> bool | None:
        """Return the same of a name: it may be handed to what calls it."""
        if isinstance(value, str):
            return _unless(value.partition(".")[0] == _PACKAGE)
        return False if value is None else self.calls(value)


def _unless(it_may: bool) -> bool | None:
    return None if it_may else False


def _may_be_anything(name: str) -> bool:
    """Return whether what was imported under that name may call ours: Python's own does not."""
    top = name.partition(".")[0]
    return top in _DYNAMIC_MODULES or top not in sys.stdlib_module_names


def _local_names(value: ast.AST) -> Names:
    """Return what a function's own names stand for: parameters, variables, imports."""
    found: Names = {}
    for node in ast.walk(value):
        if isinstance(node, ast.arg):
            found[node.arg] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = None
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node is not value:
            found[node.name] = None  # what it calls is looked at with the rest
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for it in node.names:
                name = f"{module}.{it.name}" if module else it.name
                top = name if it.asname or module else it.name.partition(".")[0]
                found[it.asname or it.name.partition(".")[0]] = top
    return found


def _root(expression: ast.expr) -> ast.expr:
    """Return what an expression such as ``a.b().c[0]`` begins with."""
    while isinstance(expression, ast.Call | ast.Attribute | ast.Subscript):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression
