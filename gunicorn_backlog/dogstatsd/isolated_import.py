"""Import one module of a package without the rest of the package.

``import datadog`` imports all of Datadog's API with requests and urllib3, which keep references to
``ssl``. A gevent worker patches ``ssl`` only after the fork; with the old references every HTTPS
request of its app ends in a RecursionError. Therefore the arbiter imports only the DogStatsD
client, and leaves no partial ``datadog`` behind. Fewer pages in the arbiter also shorten its forks.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def isolated_import(name: str, environ: Mapping[str, str | None]) -> ModuleType:
    """Return a module of a package, imported without the package's ``__init__``.

    ``sys.modules`` contains nothing of the package afterwards: a later ``import`` by the app gets a
    complete package of its own. A package that was imported before is used unchanged.

    :param name: the module's dotted name.
    :param environ: environment variables during an isolated import; None removes a variable.
    :raises ImportError: the package or one of its requirements is missing.
    """
    package = name.partition(".")[0]
    if package in sys.modules:
        importlib.import_module(package)  # waits for an import in another thread
        return importlib.import_module(name)
    with _placeholder(package), _variables(environ):
        return importlib.import_module(name)


@contextmanager
def _placeholder(package: str) -> Iterator[None]:
    """Put an empty package into ``sys.modules``; remove it and its modules at the end."""
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    sys.modules[package] = module_from_spec(spec)
    try:
        yield
    finally:
        for imported in list(sys.modules):
            if imported.partition(".")[0] == package:
                del sys.modules[imported]


@contextmanager
def _variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Change variables of ``os.environ``, and restore them at the end.

    The process's own environment stays unchanged: ``putenv`` and ``unsetenv`` move memory that a C
    library's ``getenv`` may be reading in another thread.
    """
    data: dict[bytes, bytes] = vars(os.environ)["_data"]
    former = {key: data.pop(key, None) for key in map(os.fsencode, values)}
    data.update((os.fsencode(k), os.fsencode(v)) for k, v in values.items() if v is not None)
    try:
        yield
    finally:
        for key, value in former.items():
            data.pop(key, None)
            if value is not None:
                data[key] = value
