"""hooks.install: each shape of config keeps its own hooks, and all metrics are pushed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_starts import Start, run_starts
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import latest, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_interval import EVERY_20_MS, SHORT_INTERVALS
from tests.lab.waiting import wait_for

INSTALL = "\nfrom gunicorn_backlog import hooks\nhooks.install(globals())\n"
OWN = ("when_ready", "post_worker_init", "on_exit")
# The arbiter kills its workers, and calls on_exit. After a graceful stop it has no workers for
# 0.1 s: pushes of that time look like the last one.
AT_ONCE = ("--graceful-timeout", "0")
EMBEDDED = Path(__file__).parents[3] / "examples" / "embedded.py"


class Shape(NamedTuple):
    """A config, or a program that embeds gunicorn.

    ``own`` names its own hooks, each of which logs "my <name>". ``module`` is the source of the
    importable module ``myhooks``. ``arguments`` are gunicorn's, ``program`` is Python source.
    """

    config: str | None = None
    own: tuple[str, ...] = OWN
    module: str = ""
    arguments: tuple[str, ...] = ()
    program: str = ""


LOG = "def log(text, subject):\n    subject.log.info('my %s', text)\n"
FUNCTIONS = "".join(f"def {name}(subject):\n    subject.log.info('my {name}')\n" for name in OWN)
METHODS = """
class Own:
    def when_ready(self, server):
        server.log.info("my when_ready")
    def __call__(self, worker):
        worker.log.info("my post_worker_init")
    @staticmethod
    def on_exit(server):
        server.log.info("my on_exit")
own = Own()
when_ready, post_worker_init, on_exit = own.when_ready, own, Own.on_exit
"""
PARTIALS = f"""
from functools import partial
{LOG}
when_ready = lambda server: log("when_ready", server)
post_worker_init = partial(log, "post_worker_init")
on_exit = partial(log, "on_exit")
"""
STRINGS = "".join(f"{name} = 'myhooks.{name}'\n" for name in OWN)
RAW_ENV = f"raw_env = ['GUNICORN_BACKLOG_TAGS=team:web']\n{FUNCTIONS}"
ARBITER = f"""
import sys
sys.path.insert(0, {str(EMBEDDED.parent)!r})
from app import app
from embedded import Embedded
from gunicorn.arbiter import Arbiter
import myhooks

class OwnArbiter(Arbiter):
    def manage_workers(self):
        super().manage_workers()

class Program(Embedded):
    def run(self):
        OwnArbiter(self).run()

own = dict(when_ready=myhooks.when_ready, post_worker_init="myhooks.post_worker_init",
           on_exit=myhooks.on_exit, bind=sys.argv[1], workers=1, proc_name="lab",
           graceful_timeout=0)
Program(app, own).run()
"""

SHAPES = {
    "own functions": Shape(FUNCTIONS + INSTALL),
    "no hooks": Shape("workers = 1\n" + INSTALL, own=()),
    "None": Shape("when_ready = post_worker_init = None\n" + INSTALL, own=()),
    "lambdas and partials": Shape(PARTIALS + INSTALL),
    "bound methods and callable objects": Shape(METHODS + INSTALL),
    "import strings": Shape(STRINGS + INSTALL, module=FUNCTIONS),
    "raw_env": Shape(RAW_ENV + INSTALL),
    "star import of others' hooks": Shape("from myhooks import *\n" + INSTALL, module=FUNCTIONS),
    "python:module": Shape(module=FUNCTIONS + INSTALL, arguments=("--config", "python:myhooks")),
    "beside our star import": Shape("from gunicorn_backlog.hooks import *\n" + INSTALL, own=()),
    "own hooks that call ours": Shape(
        "from gunicorn_backlog import hooks\n"
        + "".join(
            f"def {name}(subject):\n    subject.log.info('my {name}')\n    hooks.{name}(subject)\n"
            for name in OWN
        )
        + INSTALL
    ),
    "Arbiter subclass": Shape(module=FUNCTIONS, program=ARBITER),
}

# What install() makes of the others does not depend on gunicorn: older versions are nightly ones.
BY_VERSION = ("own functions", "import strings", "Arbiter subclass")
# gunicorn runs a file at each HUP, but a module once.
TWO_HUPS = ("own functions", "python:module")
CASES = [
    pytest.param(
        name,
        version,
        id=f"{name}-{version}",
        marks=[pytest.mark.nightly]
        if version == "23.0.0" or (old and name not in BY_VERSION)
        else [],
    )
    for name in SHAPES
    for version, old in ((VERSIONS[0], True), ("23.0.0", True), (VERSIONS[-1], False))
]


def served(shape: Shape, gunicorn: Gunicorn, serve: ServerFactory, url: str, at: Path) -> Server:
    """Start a server of this shape, and wait until the server serves."""
    (at / "myhooks.py").write_text(SHORT_INTERVALS + shape.module)
    program = at / "program.py"
    program.write_text(SHORT_INTERVALS + shape.program)
    environ = {
        "PYTHONPATH": f"{gunicorn.environ()['PYTHONPATH']}{os.pathsep}{at}",
        "GUNICORN_BACKLOG_URL": url,
    }
    server = serve(
        gunicorn,
        workers=1,
        config=shape.config and SHORT_INTERVALS + shape.config,
        arguments=(*AT_ONCE, *shape.arguments),
        environ=environ | EVERY_20_MS,
        program=(str(program),) if shape.program else None,
    )
    return server.wait_until_it_serves()


@pytest.mark.parametrize(("name", "version"), CASES)
def test_own_hooks_run_and_all_metrics_are_pushed(
    name: str,
    version: str,
    installed: object,
    serve: ServerFactory,
    agent: StandInAgent,
    tmp_path: Path,
) -> None:
    """Own hooks run first and once, in each process and after each HUP; the last push arrives."""
    shape = SHAPES[name]
    gunicorn = installed(version)  # type: ignore[operator]  # the fixture of conftest
    server = served(shape, gunicorn, serve, agent.url, tmp_path)
    wait_until_all_are_idle(agent, workers=1)
    for push in next_pushes(agent, 2):
        assert set(push.values("gunicorn.backlog")) == {0}
        assert push.values("gunicorn.is_running", "app:lab") == (0,)
    hups = 2 if name in TWO_HUPS else 1
    for _ in range(hups):
        former = server.worker_pids()
        server.reload()
        wait_for("a new worker", lambda: server.worker_pids().isdisjoint(former))  # noqa: B023
        wait_until_all_are_idle(agent, workers=1)
    server.process.terminate()

    assert server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: latest(agent).values("gunicorn.is_running") == (2,))
    expected = {"when_ready": 1, "post_worker_init": 1 + hups, "on_exit": 1}
    for hook in OWN:
        assert server.log.count(f"my {hook}") == (expected[hook] if hook in shape.own else 0)
    assert server.our_lines == []
    if "when_ready" in shape.own:
        assert server.log.index("my when_ready") < server.log.index("gunicorn_backlog: ")
    assert "Traceback" not in server.log


RAISES = {
    "when_ready": "def when_ready(server):\n    raise RuntimeError('mine')\n",
    "post_worker_init": "def post_worker_init(worker):\n    raise RuntimeError('mine')\n",
    "on_exit": "def on_exit(server):\n    raise RuntimeError('mine')\n",
}


@NEWEST_BY_DAY
def test_an_error_of_an_own_hook_at_the_start_is_gunicorns(
    gunicorn: Gunicorn, listen: AgentFactory, tmp_path: Path
) -> None:
    """gunicorn ends as without our hooks, and the last push arrives if there was a first."""
    agents = {"when_ready": listen(), "post_worker_init": listen()}
    starts = [
        Start(RAISES[hook] + install, environ={"GUNICORN_BACKLOG_URL": agent.url})
        for hook, agent in agents.items()
        for install in ("", INSTALL)
    ]
    ended = run_starts(gunicorn, tmp_path, starts)
    for plain, ours in (ended[:2], ended[2:]):
        assert ours.code == plain.code
        assert "mine" in ours.log
    assert agents["when_ready"].datagrams == []
    agent = agents["post_worker_init"]
    wait_for("the only push", lambda: pushes(agent))
    assert latest(agent).values("gunicorn.is_running") == (2,)


@NEWEST_BY_DAY
def test_an_error_of_an_own_hook_at_the_end_is_gunicorns(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn ends as without our hooks, and the last push arrives."""
    # The only push is the last one.
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "60"}
    plain = serve(gunicorn, config=RAISES["on_exit"], workers=1)
    server = serve(gunicorn, config=RAISES["on_exit"] + INSTALL, environ=environ, workers=1)
    for started in (plain, server):
        started.wait_until_it_serves()
        started.process.terminate()

    assert server.process.wait(timeout=30) == plain.process.wait(timeout=30)
    assert "mine" in server.log
    wait_for("the last push", lambda: pushes(agent))
    assert [push.values("gunicorn.is_running") for push in pushes(agent)] == [(2,)]


REFUSED = {
    "too many": "def when_ready(server, more):\n    pass\n",
    "no import": "when_ready = 'no.x'\n",
}


def test_a_hook_that_gunicorn_refuses_is_still_refused(gunicorn: Gunicorn, tmp_path: Path) -> None:
    """gunicorn counts the arguments of the own hook, and reports a failed import."""
    starts = [Start(config + install) for config in REFUSED.values() for install in ("", INSTALL)]
    ended = run_starts(gunicorn, tmp_path, starts)
    assert [start.code for start in ended] == [1, 1, 1, 1]
    for plain, ours in (ended[:2], ended[2:]):
        assert plain.lines[-1].split("Error: ")[-1] in ours.log


@NEWEST_BY_DAY
def test_the_embedded_example(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """examples/embedded.py, run as in its docstring, pushes all metrics."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(gunicorn, program=(str(EMBEDDED),), environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    server.process.terminate()

    assert server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: latest(agent).values("gunicorn.is_running") == (2,))


def test_install_takes_a_mapping(newest: Gunicorn, tmp_path: Path) -> None:
    """Any other argument is one line."""
    given = ("None", "'globals()'", "()")
    starts = [Start(f"from gunicorn_backlog import hooks\nhooks.install({it})\n") for it in given]
    for argument, ended in zip(given, run_starts(newest, tmp_path, starts), strict=True):
        assert ended.code == 1
        (line,) = ended.lines
        assert line == (
            f"gunicorn_backlog: hooks.install({argument}); "
            "allowed: globals(), or a dict of gunicorn's settings"
        )
