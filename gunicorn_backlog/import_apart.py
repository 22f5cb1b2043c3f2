"""An import that nobody else sees.

The ``datadog`` client imports requests and urllib3, and those keep what they find in ``ssl``. But a
gevent worker patches ``ssl`` only after the fork: if they are there before, every HTTPS request of
its app ends in a RecursionError. So the arbiter must not have them for our sake; nor a ``datadog``
that could not find them. What it would do at each fork, for a client of its own that nobody here
uses, is left out as well: it took longer than all that we do then.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import ModuleType

from gunicorn_backlog.unpatched import original


def import_apart(name: str, *, without: Collection[str]) -> ModuleType:
    """Import a module without some others; its package is left out of ``sys.modules``.

    Nor is it told of forks. If the package is there already it is as it is, and
    stays. Raises ImportError.
    """
    package = name.partition(".")[0]
    if package in sys.modules:
        return importlib.import_module(name)
    refusal = _Refusal(without)
    sys.meta_path.insert(0, refusal)
    try:
        with _not_told_of_forks(package):
            return importlib.import_module(name)
    finally:
        sys.meta_path.remove(refusal)
        for imported in list(sys.modules):
            if imported.partition(".")[0] == package:
                del sys.modules[imported]


@contextmanager
def _not_told_of_forks(package: str) -> Iterator[None]:
    """Meanwhile ``os.register_at_fork`` passes over what modules of this package ask for.

    Who registers can't be taken back later. Others, in whatever thread, get what they ask for.
    """
    register = os.register_at_fork

    def pass_over(**handlers: Callable[[], object]) -> None:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        if caller.partition(".")[0] != package:
            register(**handlers)

    vars(os)["register_at_fork"] = pass_over
    try:
        yield
    finally:
        vars(os)["register_at_fork"] = register


class _Refusal:
    """A finder (PEP 451) by which this thread, and no other, does not find some modules."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._thread_id = original("_thread", "get_ident")
        self._thread = self._thread_id()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ModuleNotFoundError for those; leave all else to the other finders."""
        if name in self._names and self._thread_id() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
