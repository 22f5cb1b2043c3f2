"""Imports go downwards only, through the layers of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gunicorn_backlog

PACKAGE = Path(gunicorn_backlog.__file__).parent
# From the bottom to the top; the members of one layer do not import each other.
LAYERS = [
    ["_gunicorn"],
    ["config", "log", "_threads"],
    ["scoreboard", "kernel"],
    ["workers"],
    ["sampling"],
    ["metrics"],
    ["dogstatsd"],
    ["arbiter"],
    ["hooks", "cli"],
    ["__main__"],
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
ALLOWED = {
    ("__init__", "config"),  # ``configure`` and ``ConfigError`` are public there
    ("__init__", "workers"),  # ``waited_ms``, of a module that imports only the standard library
    ("cli", "hooks"),  # ``cli.check`` compares the hooks of a config with ours
}
ONLY_IN: dict[str, set[str]] = {
    "datadog": {"dogstatsd"},
    "struct": {"kernel", "scoreboard"},
    # The arbiter imports the modules of workers/: a package of a worker class stays out of it.
    "aiohttp": set(),
    "tornado": set(),
    "uvicorn": set(),
}


def imported(source: str) -> Iterator[str]:
    """Yield the dotted names that a module imports, in functions and for types, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_allowed(layer: str, name: str) -> bool:
    """Return whether a module of a layer may import a dotted name; a relative one never."""
    package, _, rest = name.partition(".")
    target = rest.partition(".")[0]
    if package != PACKAGE.name or target not in RANKS:
        return package != "" and layer in ONLY_IN.get(package, {layer})
    below = layer in RANKS and RANKS[target] < RANKS[layer]
    return below or target == layer or (layer, target) in ALLOWED


def violations(path: Path, source: str) -> list[str]:
    """Return the forbidden imports of a module's source; the path is relative to the package."""
    layer = path.parts[0].removesuffix(".py")
    return [f"{path} imports {name}" for name in imported(source) if not is_allowed(layer, name)]


def modules() -> list[Path]:
    """Return the paths of the package's modules, relative to the package."""
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_imports_go_downwards_only() -> None:
    """No module imports from a layer above its own, or from another folder of its own."""
    assert [
        violation
        for path in modules()
        for violation in violations(path, (PACKAGE / path).read_text())
    ] == []


def test_every_folder_has_a_layer() -> None:
    """No folder or module is without a layer, and at most eight modules are at the root."""
    assert {module.parts[0].removesuffix(".py") for module in modules()} == {*RANKS, "__init__"}
    assert len([module for module in modules() if len(module.parts) == 1]) <= 8


@pytest.mark.parametrize(
    ("path", "planted"),
    [
        ("kernel/tcp_info.py", "from gunicorn_backlog.scoreboard.slot import Kind"),
        ("sampling/sampler.py", "def late():\n    from gunicorn_backlog.metrics import points"),
        ("arbiter/monitor.py", "from gunicorn_backlog import hooks"),
        ("hooks.py", "import gunicorn_backlog.cli.main"),
        ("log.py", "if TYPE_CHECKING:\n    from gunicorn_backlog.config import tags"),
        ("metrics/points.py", "from ..dogstatsd import client"),
        ("__init__.py", "from gunicorn_backlog.arbiter import monitor"),
        ("workers/asgi.py", "import struct"),
        ("arbiter/monitor.py", "from datadog.dogstatsd import base"),
        ("workers/tornado.py", "def late():\n    from tornado import web"),
    ],
)
def test_a_planted_import_is_found(path: str, planted: str) -> None:
    """A planted import from above, from beside, or of what the folder may not use is reported."""
    source = (PACKAGE / path).read_text()
    assert len(violations(Path(path), f"{source}\n{planted}\n")) == 1
