"""hooks.install: each shape of config keeps its own hooks, and all metrics are pushed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.waiting import wait_for

TRIED = (VERSIONS[0], "23.0.0", VERSIONS[-1])
INSTALL = "\nfrom gunicorn_backlog import hooks\nhooks.install(globals())\n"
OWN = ("when_ready", "post_worker_init", "on_exit")
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
           on_exit=myhooks.on_exit, bind=sys.argv[1], workers=2, proc_name="lab")
Program(app, own).run()
"""

SHAPES = {
    "own functions": Shape(FUNCTIONS + INSTALL),
    "no hooks": Shape("workers = 2\n" + INSTALL, own=()),
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


def served(shape: Shape, gunicorn: Gunicorn, serve: ServerFactory, url: str, at: Path) -> Server:
    """Start a server of this shape, and wait until the server serves."""
    (at / "myhooks.py").write_text(shape.module or "")
    program = at / "program.py"
    program.write_text(shape.program)
    environ = {
        "PYTHONPATH": f"{gunicorn.environ()['PYTHONPATH']}{os.pathsep}{at}",
        "GUNICORN_BACKLOG_URL": url,
        "GUNICORN_BACKLOG_INTERVAL": "0.2",
    }
    server = serve(
        gunicorn,
        config=shape.config,
        arguments=shape.arguments,
        environ=environ,
        program=(str(program),) if shape.program else None,
    )
    return server.wait_until_it_serves()


@pytest.mark.parametrize("version", TRIED)
@pytest.mark.parametrize("name", SHAPES)
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
    wait_until_all_are_idle(agent)
    for push in next_pushes(agent, 2):
        assert set(push.values("gunicorn.backlog")) == {0}
        assert push.values("gunicorn.is_running", "app:lab") == (0,)
    for _ in range(2):
        former = wait_for("both workers", server.both_worker_pids)
        server.reload()
        wait_for("new workers", lambda: server.worker_pids().isdisjoint(former))  # noqa: B023
        wait_until_all_are_idle(agent)
    server.process.terminate()

    assert server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))
    expected = {"when_ready": 1, "post_worker_init": 6, "on_exit": 1}
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


@pytest.mark.parametrize("hook", RAISES)
def test_an_error_of_an_own_hook_is_gunicorns(
    hook: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn ends as without our hooks, and the last push arrives if there was a first."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    # With more workers, gunicorn 27 exits with 1 if a second worker fails while gunicorn stops.
    plain = serve(gunicorn, config=RAISES[hook], workers=1)
    server = serve(gunicorn, config=RAISES[hook] + INSTALL, environ=environ, workers=1)
    if hook == "on_exit":
        wait_until_all_are_idle(agent, workers=1)
        plain.wait_until_it_serves()
        for started in (plain, server):
            started.process.terminate()

    assert server.process.wait(timeout=30) == plain.process.wait(timeout=30)
    assert "mine" in server.log
    if hook == "when_ready":
        assert agent.datagrams == []
    else:
        wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))


ARITY = {
    "too many": "def when_ready(server, more):\n    pass\n",
    "no import": "when_ready = 'no.x'\n",
}


@pytest.mark.parametrize("case", ARITY)
def test_a_hook_that_gunicorn_refuses_is_still_refused(
    case: str, gunicorn: Gunicorn, serve: ServerFactory
) -> None:
    """gunicorn counts the arguments of the own hook, and reports a failed import."""
    plain = serve(gunicorn, config=ARITY[case])
    server = serve(gunicorn, config=ARITY[case] + INSTALL)

    assert server.process.wait(timeout=20) == plain.process.wait(timeout=20) == 1
    error = [line.split("Error: ")[-1] for line in plain.log.splitlines()][-1]
    assert error in server.log


def test_the_embedded_example(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """examples/embedded.py, run as in its docstring, pushes all metrics."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(gunicorn, program=(str(EMBEDDED),), environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    server.process.terminate()

    assert server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))


@pytest.mark.parametrize("given", ["None", "'globals()'", "()"])
def test_install_takes_a_mapping(given: str, newest: Gunicorn, serve: ServerFactory) -> None:
    """Any other argument is one line."""
    config = f"from gunicorn_backlog import hooks\nhooks.install({given})\n"
    server = serve(newest, config=config)

    assert server.process.wait(timeout=20) == 1
    (line,) = server.log.splitlines()
    assert line == (
        f"gunicorn_backlog: hooks.install({given}); "
        "allowed: globals(), or a dict of gunicorn's settings"
    )
