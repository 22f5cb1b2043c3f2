"""``check`` where gunicorn runs without our hooks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.inspect import procfs, unhooked
from tests.conftest import ServerFactory
from tests.lab.check_command import WARNING, has_finding
from tests.lab.cli_command import Done, run_cli
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.ports import free_port
from tests.lab.process_group import Group
from tests.lab.procfs import children
from tests.lab.reloading import reload_and_wait
from tests.lab.sandbox import as_pid_1, refusing
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for

# As in functions-framework: options, and neither a command line nor a config file.
EMBEDDED = """
import sys
from gunicorn.app.base import BaseApplication
from tests.lab.wsgi_app import app
class Embedded(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", sys.argv[1])
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)
    def load(self):
        return app
Embedded().run()
"""
OF_HOOKS = "--config python:gunicorn_backlog.hooks"


def is_told(done: Done, pid: int) -> bool:
    """Return whether a gunicorn without our hooks is reported, with the remedy."""
    text = f"gunicorn runs here as pid {pid} and is not monitored: our when_ready never ran"
    return has_finding(done, "warning", "server", text) and "hooks.install(options)" in done.out


@pytest.fixture
def embedded(gunicorn: Gunicorn, tmp_path: Path) -> Iterator[int]:
    """A program that embeds gunicorn, with our hooks in a variable that gunicorn ignores."""
    environ = gunicorn.environ(GUNICORN_CMD_ARGS=OF_HOOKS, HOME=str(tmp_path))
    command = [sys.executable, "-c", EMBEDDED, f"127.0.0.1:{free_port()}"]
    with Group(command, env=environ) as process:
        wait_for("the worker", lambda: len(children(process.pid)) == 1)
        yield process.pid


def test_embedded(embedded: int, agent: StandInAgent) -> None:
    """The variable is ignored: ``check`` reports that our hooks are missing, and no other hook."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    for pid in (embedded, *children(embedded)):
        done = run_here("check", str(pid), environ=environ)
        assert done.code == WARNING
        assert is_told(done, embedded), done
        assert " is ours" not in done.out
    done = run_here("status", str(embedded))
    assert done.code > 0
    assert embedded in unhooked.masters()


def test_nothing_else_runs(newest: Gunicorn, agent: StandInAgent, tmp_path: Path) -> None:
    """Without a pid, the config in the environment and the unhooked server are both reported."""
    script = f"{sys.executable} -c '{EMBEDDED}' 127.0.0.1:{free_port()} 2>$HOME/log & exec \"$@\""
    waiting = 'while ! grep -q Booting $HOME/log; do sleep 0.05; done; sleep 0.2; exec "$@"'

    environ = newest.environ(
        GUNICORN_CMD_ARGS=OF_HOOKS, HOME=str(tmp_path), GUNICORN_BACKLOG_URL=agent.url
    )
    run_by = (*as_pid_1(), "sh", "-c", script, "sh", "sh", "-c", waiting, "sh")
    done = run_cli("check", run_by=run_by, environ=environ)
    assert done.code == WARNING, done
    condition = "if the server is gunicorn's own command: "
    assert has_finding(done, "ok", "hooks", f"{condition}when_ready is ours"), done
    assert has_finding(done, "warning", "server", "gunicorn runs here as pid "), done
    done = run_cli("status", run_by=run_by, environ=environ)
    assert "in its hooks runs here (gunicorn that is not monitored does: pid " in done.err, done


@NEWEST_BY_DAY
def test_hooks_added_by_a_reload(gunicorn: Gunicorn, serve: ServerFactory) -> None:
    """A reload does not run when_ready: the server is reported until its restart."""
    server = serve(gunicorn, config="", workers=1).wait_until_it_serves()
    assert is_told(run_here("check", str(server.pid)), server.pid)
    reload_and_wait(server, CONFIG)
    assert is_told(run_here("check", str(server.pid)), server.pid)


@NEWEST_BY_DAY
def test_a_server_with_our_hooks(gunicorn: Gunicorn, serve: ServerFactory) -> None:
    """Neither the server nor one of its workers is reported."""
    server = serve(gunicorn, workers=1).wait_until_it_serves()
    assert not {server.pid, *server.worker_pids()} & set(unhooked.masters())


def test_a_server_that_is_disabled(newest: Gunicorn, serve: ServerFactory) -> None:
    """A disabled server has no shared memory: the report includes this possible cause."""
    server = serve(newest, workers=1, environ={"GUNICORN_BACKLOG_ENABLED": "0"})
    server.wait_until_it_serves()
    done = run_here("check", str(server.pid))
    assert is_told(done, server.pid)
    assert "or enabled is False" in done.out


def test_where_memfd_is_refused(newest: Gunicorn, serve: ServerFactory) -> None:
    """Without memfd the shared memory is an unlinked file, which is found, too."""
    server = serve(newest, workers=1, run_by=refusing("memfd")).wait_until_it_serves()
    assert server.pid not in unhooked.masters()


FORKING = """
import os, signal
def post_worker_init(worker):
    if os.fork() == 0:
        signal.pause()
        os._exit(0)
"""


def test_what_workers_fork(newest: Gunicorn, serve: ServerFactory) -> None:
    """A worker's child holds the worker's memory, and is no master, even after the worker's end."""
    server = serve(newest, config=FORKING, workers=1).wait_until_it_serves()
    (worker,) = server.worker_pids()
    (forked,) = wait_for("the worker's child", lambda: children(worker))
    assert set(unhooked.masters()) & {server.pid, worker, forked} == {server.pid}
    os.kill(worker, signal.SIGKILL)
    wait_for("another worker", lambda: server.worker_pids() - {worker})
    assert set(unhooked.masters()) & {server.pid, forked} == {server.pid}
    assert procfs.ancestor(forked, unhooked.masters()) is None
    os.kill(forked, signal.SIGKILL)


def test_an_upgrade(newest: Gunicorn, serve: ServerFactory) -> None:
    """Both masters are reported, because each has its own workers."""
    server = serve(newest, config="", workers=1).wait_until_it_serves()
    server.signal(signal.SIGUSR2)

    def both() -> bool:
        return len(set(unhooked.masters()) & {server.pid, *server.worker_pids()}) == 2

    wait_for("both masters", both)


def test_dirty_workers(newest: Gunicorn, serve: ServerFactory) -> None:
    """gunicorn's second arbiter for dirty workers is not reported as a server."""
    arguments = ("--dirty-app", "gunicorn.dirty.app:DirtyApp", "--dirty-workers", "1")
    server: Server = serve(newest, workers=1, arguments=arguments).wait_until_it_serves()
    wait_for("the dirty worker", lambda: any(map(children, server.worker_pids())))
    assert not server.worker_pids() & set(unhooked.masters())
    assert server.pid not in unhooked.masters()
