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

from gunicorn_backlog._threads.unpatched import original

WAIT_S = 5.0  # far longer than the import takes


def import_apart(name: str) -> ModuleType:
    """Import a module of a package without running the package's ``__init__``.

    Nothing of the package is left in ``sys.modules``, and nothing of it is told of forks: an app
    that imports it gets a whole one of its own. If the package is there already it is as it is, and
    stays. Raises ImportError.
    """
    package = name.partition(".")[0]
    if package in sys.modules:
        importlib.import_module(package)  # another thread may be at it
        return importlib.import_module(name)
    with _part_of(package), _not_told_of_forks(package):
        return importlib.import_module(name)


@contextmanager
def _part_of(package: str) -> Iterator[None]:
    """Have an empty package in ``sys.modules`` meanwhile.

    Another thread of an app's that happens to import it now keeps what it finds: so what it asks
    that for is answered by the whole package, when we are done.
    """
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    part = module_from_spec(spec)
    thread_id = original("_thread", "get_ident")
    ours, done = thread_id(), original("_thread", "allocate_lock")()
    done.acquire()
    under_way = True

    def of_the_whole(name: str) -> object:
        if name.startswith("__") or (under_way and thread_id() == ours):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if done.acquire(timeout=WAIT_S):
            done.release()
        return getattr(importlib.import_module(package), name)

    vars(part)["__getattr__"] = of_the_whole
    sys.modules[package] = part
    try:
        yield
    finally:
        for imported in list(sys.modules):
            if imported.partition(".")[0] == package:
                del sys.modules[imported]
        under_way = False
        done.release()


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
