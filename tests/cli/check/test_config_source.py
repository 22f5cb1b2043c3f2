"""Which hooks the source of a config binds, before and after ours, and whether they call ours."""

from __future__ import annotations

import sys

import pytest

from gunicorn_backlog.cli.check.config_source import Binding, bindings

STAR = "from gunicorn_backlog.hooks import *\n"
HOOKS = "from gunicorn_backlog import hooks\n"


def when_ready(source: str) -> list[Binding]:
    """Return the bindings of that hook; in every other module one of that name is not ours."""
    found = bindings(source, lambda module, name: None if module == "empty" else False)
    return [it for it in found if it.hook == "when_ready"]


@pytest.mark.parametrize(
    "source",
    [
        "def when_ready(server):\n    pass\n",
        "async def when_ready(server):\n    pass\n",
        "class when_ready:\n    pass\n",
        "when_ready = print\n",
        "when_ready: object = print\n",
        "a, (when_ready, *b) = print, (print,)\n",
        "a = when_ready = print\n",
        "import when_ready\n",
        "import other as when_ready\n",
        "from other import when_ready\n",
        "from other import it as when_ready\n",
        "from other import *\n",
        "with it as when_ready:\n    pass\n",
        "for when_ready in it:\n    pass\n",
        "with it:\n    when_ready = print\n",
        "if it:\n    when_ready = print\n",
        "if it:\n    pass\nelse:\n    when_ready = print\n",
        "try:\n    when_ready = print\nexcept OSError:\n    pass\n",
        "try:\n    pass\nexcept OSError:\n    when_ready = print\n",
        "try:\n    pass\nfinally:\n    when_ready = print\n",
        "while it:\n    when_ready = print\n",
        "match it:\n    case 1:\n        when_ready = print\n",
    ],
)
def test_own_hooks(source: str) -> None:
    """Each way to bind a name is seen, before our import and after it."""
    before = when_ready(f"{source}{STAR}")
    after = when_ready(f"{STAR}{source}")
    assert [it.is_ours for it in before] == [False, True]
    assert [it.is_ours for it in after] == [True, False]
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
    """A name of another scope, and one without a value, is no hook."""
    assert when_ready(source) == []


@pytest.mark.parametrize(
    "source",
    [
        STAR,
        "from gunicorn_backlog.hooks import when_ready\n",
        "from gunicorn_backlog.hooks import when_ready as it\nwhen_ready = it\n",
        f"{HOOKS}when_ready = hooks.when_ready\n",
        "import gunicorn_backlog.hooks\nwhen_ready = gunicorn_backlog.hooks.when_ready\n",
        "import gunicorn_backlog.hooks as it\nwhen_ready = it.when_ready\n",
        "try:\n    from gunicorn_backlog.hooks import *\nexcept ImportError:\n    pass\n",
    ],
)
def test_ours(source: str) -> None:
    """Each way to import ours is seen."""
    (found,) = when_ready(source)
    assert (found.is_ours, found.keeps) == (True, False)


@pytest.mark.parametrize(
    "source",
    [
        f"{HOOKS}hooks.install(globals())\n",
        f"{HOOKS}it = hooks.install(mapping=vars())\n",
        "from gunicorn_backlog.hooks import install as add\nif it:\n    add(globals())\n",
    ],
)
def test_install(source: str) -> None:
    """It binds ours, and keeps what is there."""
    (found,) = when_ready(source)
    assert (found.is_ours, found.keeps) == (True, True)


def test_the_options_of_something_else_are_no_config() -> None:
    """Ours are added to another mapping than the config's names."""
    assert when_ready(f"{HOOKS}hooks.install(options)\n") == []


@pytest.mark.parametrize(
    ("source", "excluded"),
    [
        ("if it:\n    def when_ready(s): pass\nelse:\n    {STAR}", True),
        ("try:\n    {STAR}except ImportError:\n    def when_ready(s): pass\n", True),
        ("if it:\n    def when_ready(s): pass\nif it:\n    {STAR}", False),
        ("if it:\n    def when_ready(s): pass\n    {STAR}", False),
    ],
)
def test_alternatives(source: str, excluded: bool) -> None:
    """Of alternatives only one is run: none replaces the other."""
    first, second = when_ready(source.format(STAR=STAR))
    assert first.excludes(second) is second.excludes(first) is excluded


CONFIG = f"""
import functools, importlib, logging, threading, requests
from other import helper as foreign
{HOOKS}
log = logging.getLogger()
def helper(server):
    hooks.when_ready(server)
class Own:
    def __call__(self, server):
        hooks.when_ready(server)
class Silent:
    def __call__(self, server):
        print(server)
{{}}
"""


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("def when_ready(server):\n    hooks.when_ready(server)", True),
        ("def when_ready(server):\n    if server:\n        hooks.when_ready(server)", True),
        ("def when_ready(server):\n    helper(server)", True),
        ("def when_ready(server):\n    threading.Thread(target=helper).start()", True),
        (
            "def when_ready(server):\n    from gunicorn_backlog.hooks import when_ready\n"
            "    when_ready(server)",
            True,
        ),
        (
            "def when_ready(server):\n    import gunicorn_backlog.hooks as ours\n"
            "    ours.when_ready(server)",
            True,
        ),
        ("when_ready = helper", True),
        ("when_ready = lambda server: hooks.when_ready(server)", True),
        ("when_ready = Own()", True),
        ("own = Own()\ndef when_ready(server):\n    own(server)", True),
        ("def when_ready(server):\n    def it(): hooks.when_ready(server)\n    it()", True),
        ("def when_ready(server):\n    print(server)", False),
        ("def when_ready(server):\n    def it(): pass\n    it()", False),
        ("@functools.cache\ndef when_ready(server):\n    pass", False),
        ("def when_ready(server):\n    server.log.info('%s', ''.join(server.it()[0].it()))", False),
        ("def when_ready(server):\n    log.info('ready')", False),
        ("def when_ready(server):\n    logging.getLogger('it').info('ready')", False),
        ("def when_ready(server):\n    when_ready(server)", False),
        ("def when_ready(server, post_fork=None):\n    pass", False),
        ("async def when_ready(server):\n    hooks.when_ready(server)", False),
        ("when_ready = lambda server: None", False),
        ("def when_ready(server):\n    foreign(server)", None),
        ("def when_ready(server):\n    requests.get('it')", None),
        ("def when_ready(server):\n    it(server)", None),
        ("def when_ready(server):\n    getattr(server, 'it')()", None),
        ("def when_ready(server):\n    importlib.import_module('it').it(server)", None),
        ("def when_ready(server):\n    it = hooks.when_ready\n    it(server)", None),
        ("@foreign\ndef when_ready(server):\n    pass", None),
        ("when_ready = functools.partial(hooks.when_ready)", None),
        ("when_ready = Silent()", None),
        ("when_ready = foreign", None),
        ("when_ready, _ = it", None),
    ],
)
def test_calls(hook: str, expected: bool | None) -> None:
    """Ours is called by a hook, by what it calls in that file, or that can't be seen."""
    *_, found = when_ready(CONFIG.format(hook))
    assert not found.is_ours
    assert found.calls is expected


def test_a_long_chain_of_functions() -> None:
    """A chain too long for Python's stack does not show whether ours is called."""
    chain = "def f0(server): pass\n"
    chain += "".join(f"def f{n}(server): f{n - 1}(server)\n" for n in range(1, 2000))
    (found,) = when_ready(f"{chain}def when_ready(server): f1999(server)\n")
    assert found.calls is None


def test_a_hook_that_was_saved_is_called() -> None:
    """Names are those at the module's end, as when the hook is called."""
    saved = f"{STAR}ours = when_ready\ndef when_ready(server):\n    ours(server)\n"
    assert [it.calls for it in when_ready(saved)] == [None, True]
    lost = f"{STAR}def when_ready(server):\n    when_ready(server)\n"
    assert [it.calls for it in when_ready(lost)] == [None, False]


def test_a_value_that_is_computed_from_ours() -> None:
    """The name is the former hook in an expression, and the new one in a function's body."""
    wrap = "def wrap(hook):\n    return lambda server: hook(server)\n"
    wrapped = f"{STAR}{wrap}when_ready = wrap(when_ready)\n"
    assert [it.calls for it in when_ready(wrapped)] == [None, None]
    recursion = f"{STAR}when_ready = lambda server: when_ready(server)\n"
    assert [it.calls for it in when_ready(recursion)] == [None, False]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="except* is of Python 3.11")
def test_an_exception_group() -> None:
    """Its handlers are alternatives, too."""
    source = "try:\n    pass\nexcept* OSError:\n    when_ready = print\n"
    assert [it.branches for it in when_ready(source)] == [((1, 1),)]


@pytest.mark.parametrize("source", ["def\n", "\0"])
def test_no_source(source: str) -> None:
    """What is no Python source raises, for the reader to report."""
    with pytest.raises((SyntaxError, ValueError)):
        when_ready(source)
