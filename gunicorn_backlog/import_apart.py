"""An import that nobody else sees, of one module and what it needs.

``import datadog`` brings all of Datadog's API along, with requests and urllib3, and those keep what
they find in ``ssl``. But a gevent worker patches ``ssl`` only after the fork: if they are there
before, every HTTPS request of its app ends in a RecursionError. So the arbiter must not have them
for our sake; nor a ``datadog`` that is a part of itself. And each page more makes its forks longer.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def import_apart(name: str) -> ModuleType:
    """Import a module of a package without running the package's ``__init__``.

    Nothing of the package is left in ``sys.modules``, and nothing of it is told of forks: an app
    that imports it gets a whole one of its own. If the package is there already it is as it is, and
    stays. Raises ImportError.
    """
    package = name.partition(".")[0]
    if package in sys.modules:
        return importlib.import_module(name)
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    sys.modules[package] = module_from_spec(spec)
    try:
        with _not_told_of_forks(package):
            return importlib.import_module(name)
    finally:
        for imported in list(sys.modules):
            if imported.partition(".")[0] == package:
                del sys.modules[imported]


@contextmanager
def _not_told_of_forks(package: str) -> Iterator[None]:
    """Meanwhile ``os.register_at_fork`` passes over what modules of this package ask for.

    Who is registered stays so for good. The ``datadog`` client is for a client of its own that
    nobody here uses, and took longer at each fork than all that we do then. Others, in whatever
    thread, get what they ask for.
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
