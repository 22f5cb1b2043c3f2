"""Hooks that a config's source binds before and after ours, and whether they mention ours."""

from __future__ import annotations

import pytest

from gunicorn_backlog.cli.check.config_source import HOOKS, OURS, Binding, bindings

STAR = "from gunicorn_backlog.hooks import *\n"
IMPORT = "from gunicorn_backlog import hooks\n"
NAMES = {
    OURS: {name: f"{OURS}.{name}" for name in (*HOOKS, "install")},
    "gunicorn_backlog": {"hooks": OURS},
    "other": {"when_ready": "other.when_ready", "helper": "other.helper"},
}


def when_ready(source: str) -> list[Binding]:
    """Return the bindings of ``when_ready``."""
    found = bindings(source, lambda module, exported: NAMES.get(module, {}))
    return [binding for binding in found if binding.hook == "when_ready"]


@pytest.mark.parametrize(
    ("source", "is_nested"),
    [
        ("def when_ready(server):\n    pass\n", False),
        ("class when_ready:\n    pass\n", False),
        ("when_ready: object = print\n", False),
        ("a, (when_ready, *b) = print, (print,)\n", False),
        ("a = when_ready = print\n", False),
        ("import other as when_ready\n", False),
        ("from other import helper as when_ready\n", False),
        ("from other import *\n", False),
        ("if it:\n    when_ready = print\n", True),
        ("if it:\n    pass\nelse:\n    when_ready = print\n", True),
        ("try:\n    pass\nexcept OSError:\n    when_ready = print\n", True),
        ("match it:\n    case 1:\n        when_ready = print\n", True),
    ],
)
def test_own_hooks(source: str, is_nested: bool) -> None:
    """Each way to bind a name is found, before our import and after it."""
    before = when_ready(f"{source}{STAR}")
    after = when_ready(f"{STAR}{source}")
    assert [(binding.is_ours, binding.is_nested) for binding in before] == [
        (False, is_nested),
        (True, False),
    ]
    assert [(binding.is_ours, binding.is_nested) for binding in after] == [
        (True, False),
        (False, is_nested),
    ]
    lines = source.count("\n")
    assert before[0].line <= lines < before[1].line == lines + 1


@pytest.mark.parametrize(
    "source",
    [
        "when_ready = None\n",
        "def other():\n    when_ready = print\n",
        "class Other:\n    def when_ready(self):\n        pass\n",
        "when_ready: object\n",
        "from empty import *\n",
    ],
)
def test_no_hooks(source: str) -> None:
    """A name of another scope, and a name without a value, is no hook."""
    assert when_ready(source) == []


@pytest.mark.parametrize(
    "source",
    [
        STAR,
        "from gunicorn_backlog.hooks import when_ready\n",
        f"{IMPORT}when_ready = hooks.when_ready\n",
        "import gunicorn_backlog.hooks\nwhen_ready = gunicorn_backlog.hooks.when_ready\n",
        "import gunicorn_backlog.hooks as it\nwhen_ready = it.when_ready\n",
        "try:\n    from gunicorn_backlog.hooks import *\nexcept ImportError:\n    pass\n",
    ],
)
def test_ours(source: str) -> None:
    """Each way to import our hooks is found."""
    (found,) = when_ready(source)
    assert (found.is_ours, found.keeps) == (True, False)


def test_install() -> None:
    """install() binds our hooks and keeps earlier ones; install() of other options is ignored."""
    (found,) = when_ready(f"{IMPORT}it = hooks.install(globals())\n")
    assert (found.is_ours, found.keeps) == (True, True)
    assert when_ready(f"{IMPORT}hooks.install(options)\n") == []


CONFIG = f"""
import functools, logging, requests
from other import helper as foreign
{IMPORT}
log = logging.getLogger()
def helper(server):
    hooks.when_ready(server)
{{}}
"""


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("def when_ready(server):\n    hooks.when_ready(server)", True),
        ("def when_ready(server):\n    if server:\n        hooks.when_ready(server)", True),
        (
            "def when_ready(server):\n    from gunicorn_backlog.hooks import when_ready\n"
            "    when_ready(server)",
            True,
        ),
        (
            "def when_ready(server):\n    from gunicorn_backlog import hooks\n"
            "    hooks.when_ready(server)",
            True,
        ),
        ("when_ready = lambda server: hooks.when_ready(server)", True),
        ("when_ready = functools.partial(hooks.when_ready)", True),
        ("def when_ready(server):\n    print(server)", False),
        ("@functools.cache\ndef when_ready(server):\n    pass", False),
        ("def when_ready(server):\n    server.log.info('%s', ''.join(server.it()[0].it()))", False),
        ("def when_ready(server):\n    log.info('ready')", False),
        ("def when_ready(server):\n    when_ready(server)", False),
        ("when_ready = lambda server: None", False),
        ("def when_ready(server):\n    helper(server)", None),
        ("def when_ready(server):\n    foreign(server)", None),
        ("def when_ready(server):\n    requests.get('it')", None),
        ("def when_ready(server):\n    __import__('gunicorn_backlog').it(server)", None),
        ("@foreign\ndef when_ready(server):\n    pass", None),
        ("async def when_ready(server):\n    pass", None),
        ("when_ready = helper", None),
        ("when_ready = foreign", None),
        ("when_ready = print", None),
    ],
)
def test_calls(hook: str, expected: bool | None) -> None:
    """A hook that mentions ours calls ours; an opaque name of the config yields None."""
    *_, found = when_ready(CONFIG.format(hook))
    assert not found.is_ours
    assert found.calls is expected


def test_a_long_chain_of_functions() -> None:
    """A chain without our hooks, too long for Python's stack, is no call."""
    chain = "def f0(server): pass\n"
    chain += "".join(f"def f{n}(server): f{n - 1}(server)\n" for n in range(1, 2000))
    (found,) = when_ready(f"{chain}def when_ready(server): f1999(server)\n")
    assert found.calls is False


def test_a_hook_that_was_saved_is_called() -> None:
    """Names have their values at the module's end, as at the call of the hook."""
    saved = f"{STAR}ours = when_ready\ndef when_ready(server):\n    ours(server)\n"
    assert [binding.calls for binding in when_ready(saved)][1:] == [True]
    lost = f"{STAR}def when_ready(server):\n    when_ready(server)\n"
    assert [binding.calls for binding in when_ready(lost)][1:] == [False]


def test_a_value_that_is_computed_from_ours() -> None:
    """A function's result of our hook is not known from the source."""
    wrap = "def wrap(hook):\n    return lambda server: hook(server)\n"
    wrapped = f"{STAR}{wrap}when_ready = wrap(when_ready)\n"
    assert [each.calls for each in when_ready(wrapped)][1:] == [None]


@pytest.mark.parametrize("source", ["def\n", "\0"])
def test_no_source(source: str) -> None:
    """Invalid Python source raises an error, which the caller reports."""
    with pytest.raises((SyntaxError, ValueError)):
        when_ready(source)


def test_a_helper_above_the_import_of_ours() -> None:
    """Calls inside a function of the config are resolved at the module's end."""
    helper = "def start(server):\n    hooks.when_ready(server)\n"
    own = "def when_ready(server):\n    start(server)\n"
    ours = "from gunicorn_backlog import hooks\n"
    for source in (helper + own + ours, own + helper + ours, ours + own + helper):
        assert [each.calls for each in when_ready(source)] == [None], source
    direct = f"def when_ready(server):\n    hooks.when_ready(server)\n{ours}"
    assert [each.calls for each in when_ready(direct)] == [True]
