"""Whether a hook of a config's own calls one of ours, as far as its code shows it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType

from gunicorn_backlog import hooks

_DEPTH = 5  # functions that call each other
_OURS = "gunicorn_backlog"


def reaches(function: object, depth: int = _DEPTH) -> bool | None:
    """Tell whether it is ours, names ours, or calls by name what does; None: that can't be told."""
    if _is_ours(function):
        return True
    if depth == 0:
        return None
    found = list(_called(function))
    if any(map(_is_ours, found)) or _imports_ours(function):
        return True
    told = {reaches(it, depth - 1) for it in found if _may_call(it)}
    if True in told:
        return True
    return False if None not in told and _is_plain(function) else None


def _is_plain(function: object) -> bool:
    """Tell whether all that it calls is found by name: it does not import ours by a text."""
    if isinstance(function, FunctionType):
        return not any(map(_of_ours, _strings(function)))
    return isinstance(function, partial | MethodType | staticmethod | classmethod)


def _called(function: object) -> Iterator[object]:
    """Yield what may be called by a function, or by what wraps one."""
    if isinstance(function, partial):
        yield from (function.func, *function.args, *function.keywords.values())
    elif isinstance(function, MethodType | staticmethod | classmethod):
        yield function.__func__
    elif isinstance(function, FunctionType):
        yield from _named(function)
    yield inspect.getattr_static(function, "__wrapped__", None)  # by functools.wraps


def _named(function: FunctionType) -> Iterator[object]:
    """Yield what a function's names stand for: globals, what it closes over, and their parts."""
    names = set(_names(function.__code__))
    yield from (found := [function.__globals__.get(name) for name in names])
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is empty
            found.append(cell.cell_contents)
            yield cell.cell_contents
    for it in found:
        if not _is_of_python(it):
            yield from (inspect.getattr_static(it, name, None) for name in names)


def _imports_ours(function: object) -> bool:
    return isinstance(function, FunctionType) and any(map(_of_ours, _names(function.__code__)))


def _of_ours(name: str) -> bool:
    return name.partition(".")[0] == _OURS


def _is_ours(found: object) -> bool:
    ours = [hooks, sys.modules[_OURS], *(getattr(hooks, name) for name in hooks.__all__)]
    return any(found is it for it in ours)


def _may_call(found: object) -> bool:
    """Tell whether it is something to be called, and no class; Python's own calls none of ours."""
    return callable(found) and not isinstance(found, type) and not _is_of_python(found)


def _is_of_python(found: object) -> bool:
    if isinstance(found, partial):  # its class is, what it calls may be anything
        return False
    name = getattr(found, "__name__", "") if inspect.ismodule(found) else _module(found)
    return name.partition(".")[0] in sys.stdlib_module_names


def _module(found: object) -> str:
    return str(getattr(found, "__module__", None) or "")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _strings(function: FunctionType) -> Iterator[str]:
    """Yield the texts in a function: one may name a module that is imported by it."""
    return (it for it in function.__code__.co_consts if isinstance(it, str))
