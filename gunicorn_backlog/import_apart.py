"""An import that nobody else sees.

The ``datadog`` client imports requests and urllib3, and those keep what they find in ``ssl``. But a
gevent worker patches ``ssl`` only after the fork: if they are there before, every HTTPS request of
its app ends in a RecursionError. So the arbiter must not have them for our sake; nor a ``datadog``
that could not find them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from types import ModuleType

from gunicorn_backlog.unpatched import original


def import_apart(name: str, *, without: Collection[str]) -> ModuleType:
    """Import a module that can do without some others; its package is left out of ``sys.modules``.

    If the package is there already it is as it is, and stays. Raises ImportError.
    """
    package = name.partition(".")[0]
    if package in sys.modules:
        return importlib.import_module(name)
    refusal = _Refusal(without)
    sys.meta_path.insert(0, refusal)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(refusal)
        for imported in list(sys.modules):
            if imported.partition(".")[0] == package:
                del sys.modules[imported]


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
