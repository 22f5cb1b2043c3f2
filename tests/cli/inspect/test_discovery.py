"""Discovery of servers: in containers, of other users, several, none, and ended ones."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.errors import EndedError
from gunicorn_backlog.cli.inspect import discovery
from gunicorn_backlog.cli.inspect.snapshot import SnapshotTaker
from tests.conftest import ServerFactory
from tests.lab.check_command import has_finding
from tests.lab.cli_command import Done, run_cli, status
from tests.lab.cli_in_one_process import run_each
from tests.lab.cli_in_process import run_here, status_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.process_group import Group
from tests.lab.procfs import children, is_alive
from tests.lab.sandbox import Network, as_nobody, as_pid_1, network, require
from tests.lab.server import CONFIG, Server
from tests.lab.ss import enforced
from tests.lab.waiting import wait_for

BACKLOG = ("--backlog", "7")


@contextmanager
def container() -> Iterator[Network]:
    """Create a network namespace; the server's start adds the rest of a container."""
    require("unshare", "-p", "-f", "--mount-proc", "true")
    with network() as found:
        yield found


def inside(arbiter: int) -> tuple[str, ...]:
    """Return a command line that runs a command in the arbiter's namespaces."""
    return ("nsenter", "--target", str(arbiter), "--pid", "--mount", "--net")


def only_child(server: Server) -> int:
    """Return the arbiter's pid outside of the container."""
    (arbiter,) = wait_for("the arbiter", lambda: server.worker_pids())
    wait_for("both workers", lambda: len(children(arbiter)) == 2)
    return arbiter


def test_a_container_from_inside_and_from_outside(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The arbiter is pid 1 inside and has another pid outside; all other facts are equal."""
    with container() as net:
        server = serve(
            newest,
            bind=("127.0.0.1:8000",),
            arguments=BACKLOG,
            run_by=net.inside(*as_pid_1()),
            environ={"GUNICORN_BACKLOG_URL": agent.url},
        )
        arbiter = only_child(server)
        wait_for("all to report", lambda: all_idle(arbiter, ()))
        within = json.loads(run_cli("status", "--json", run_by=inside(arbiter)).out)
        outside = status_here(arbiter)
    assert within["server"]["pid"] == 1
    assert outside["server"]["pid"] == arbiter
    for seen in (within, outside):
        (listener,) = seen["listeners"]
        assert listener["listener"] == "127.0.0.1:8000"
        assert listener["gunicorn.backlog.limit"] == enforced(7)
        assert listener["gunicorn.backlog.dropped"] == 0
        assert seen["metrics"]["gunicorn.workers"] == {"idle": 2, "working": 0, "starting": 0}
    assert {worker["pid"] for worker in outside["workers"]} == children(arbiter)
    assert all(worker["pid"] < 100 for worker in within["workers"])


def test_another_network_without_a_privilege(newest: Gunicorn, serve: ServerFactory) -> None:
    """From outside the same user reads the backlog, but not the limit, and sees the reason."""
    nobody = as_nobody(newest.folder)
    with network() as net:
        server = serve(
            newest,
            config=None,
            arguments=("--config", "python:gunicorn_backlog.hooks"),
            bind=("127.0.0.1:8000",),
            run_by=net.inside(*nobody),
        )
        seen = wait_for("all to report", lambda: all_idle(server.pid, nobody))
    (listener,) = seen["listeners"]
    assert listener["gunicorn.backlog"] == 0
    for name in ("gunicorn.backlog.limit", "gunicorn.backlog.dropped", "dropped_ever"):
        assert listener[name] is None
    assert "another network namespace, which may not be entered: EPERM" in listener["unreadable"]


def all_idle(pid: int, run_by: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the status of a server whose workers are all idle; None otherwise."""
    arguments = ("status", str(pid), "--json", "--seconds", "0.1")
    done = run_cli(*arguments, run_by=run_by) if run_by else run_here(*arguments)
    if done.code != 0:
        return None
    seen: dict[str, Any] = json.loads(done.out)
    return seen if seen["metrics"]["gunicorn.workers"].get("idle") == 2 else None


# Workers without a slot, and a process of the same user that is no worker.
# Python 3.13 imports hashlib at random.seed(); the workers cannot read a Python in root's home.
OF_NOBODY = """
import hashlib
import subprocess
from gunicorn_backlog.hooks import when_ready as ours
user, preload_app = "65534", True
def when_ready(server):
    ours(server)
    subprocess.Popen(["sleep", "600"], user=65534)
"""


def test_workers_of_another_user(newest: Gunicorn, serve: ServerFactory) -> None:
    """Root without CAP_SYS_PTRACE, as in a container, can count the workers, but not read them."""
    weak = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    require(*weak, "true")
    server = serve(newest, config=OF_NOBODY, run_by=(*as_pid_1(), *weak))
    (arbiter,) = wait_for("the arbiter", lambda: server.worker_pids())
    wait_for("three children", lambda: len(children(arbiter)) == 3)
    run_by = (*inside(arbiter)[:-1], *weak)
    wait_for("the server to be found", lambda: run_cli("status", "1", run_by=run_by).code == 0)
    seen = status(1, run_by=run_by)
    assert seen["metrics"]["gunicorn.workers"] == {"idle": 0, "working": 0, "starting": 2}
    assert seen["metrics"]["gunicorn.is_running"] == "OK"
    done = run_cli("check", run_by=run_by)
    assert has_finding(done, "warning", "hooks", "2 of 2 workers have not reported yet"), done.out
    assert "other users" not in done.out
    inner = max(worker["pid"] for worker in seen["workers"])
    done = run_cli("status", str(inner), run_by=run_by)
    assert "of nobody is denied: CAP_SYS_PTRACE is missing (in a con" in done.err, done


def test_another_clock(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """In a time namespace CLOCK_MONOTONIC differs, and all reported times are right."""
    run_by = ("unshare", "--time", "--monotonic", "500000", "--fork", "--kill-child")
    require(*run_by, "true")
    server = serve(newest, run_by=run_by, environ={"GUNICORN_BACKLOG_URL": agent.url})
    arbiter = only_child(server)
    wait_for("all to report", lambda: all_idle(arbiter, ()))
    server.hold(1)
    wait_for("the request to begin", lambda: server.journal.in_flight())
    seen = status_here(arbiter)
    assert seen["metrics"]["gunicorn.workers.utilization"] == pytest.approx(50, abs=2)
    (at_work,) = [worker for worker in seen["workers"] if worker["state"] == "working"]
    assert 0 < at_work["oldest_s"] < 60
    server.let_go()


COMMANDS = ("status", "top", "advise", "drained")


def test_a_server_of_another_user(newest: Gunicorn, serve: ServerFactory) -> None:
    """The error of each command has the server's user and the remedy."""
    server = serve(newest, workers=1).wait_until_it_serves()
    commands = [(command, str(server.pid)) for command in COMMANDS]
    for done in run_each(commands, run_by=as_nobody(newest.folder)):
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            f"gunicorn-backlog: access to the process {server.pid} of root is denied: "
            "run this as the same user, or as root\n"
        )


def test_none() -> None:
    """Without a server: one line, and exit code 3."""
    line = "gunicorn-backlog: no server with gunicorn_backlog in its hooks runs here\n"
    each = run_each([(command,) for command in COMMANDS], run_by=as_pid_1())
    assert each == [Done(3, "", line)] * len(COMMANDS)


def test_several(newest: Gunicorn, serve: ServerFactory) -> None:
    """Several servers are listed with pid, app and bind; the pid selects one."""
    first = serve(newest, run_by=as_pid_1())
    arbiter = only_child(first)
    second = serve(newest, run_by=inside(arbiter)[:4], arguments=("--name", "other"))
    other = only_child(second)
    for done in run_each([(command,) for command in COMMANDS], run_by=inside(arbiter)):
        assert (done.code, done.out) == (2, "")
    header, one, two, line = done.err.splitlines()
    assert header.split() == ["pid", "app", "bind", "up"]
    assert one.split()[:3] == ["1", "lab", first.address]
    assert two.split()[1:3] == ["other", second.address]
    assert line == "gunicorn-backlog: there are 2 servers: give the pid of one"
    named = run_cli("status", two.split()[0], "--json", run_by=inside(arbiter))
    assert json.loads(named.out)["server"]["app"] == "other"
    assert status_here(other)["server"]["bind"] == [second.address]


def test_no_server_at_all_by_that_pid() -> None:
    """A process of another kind, and a missing process, are one line."""
    with Group(["sleep", "60"]) as other:
        command_line = Path(f"/proc/{other.pid}/cmdline")
        wait_for("its command line", command_line.read_bytes)
        done = run_here("status", str(other.pid))
    assert done.code == 1
    assert done.err == (
        f"gunicorn-backlog: the process {other.pid} is no server with gunicorn_backlog in its "
        "hooks (sleep 60)\n"
    )
    for command in COMMANDS:
        done = run_here(command, "4194304")
        assert (done.code, done.err) == (1, "gunicorn-backlog: there is no process 4194304\n")


def test_one_that_ends_while_we_look(newest: Gunicorn, serve: ServerFactory) -> None:
    """Each method of SnapshotTaker raises EndedError."""
    server = serve(newest, workers=1).wait_until_it_serves()
    found = discovery.find_server(server.pid)
    taker = SnapshotTaker(found)
    taker.begin()
    server.signal(signal.SIGKILL)
    server.process.wait()
    for ask in (taker.sample, taker.close, taker.sample):
        with pytest.raises(EndedError, match=f"the server with the pid {server.pid} has ended"):
            ask()


def test_a_worker_left_behind(newest: Gunicorn, serve: ServerFactory) -> None:
    """A worker whose arbiter has ended is no server."""
    server = serve(newest, workers=1).wait_until_it_serves()
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    server.signal(signal.SIGKILL)
    server.process.wait()
    done = run_here("status", str(worker))
    os.kill(worker, signal.SIGKILL)
    line = f"gunicorn-backlog: the process {worker} is a worker whose server has ended\n"
    assert (done.code, done.err) == (1, line)


def test_switched_off_by_a_reload(newest: Gunicorn, serve: ServerFactory) -> None:
    """The memory still exists, and the status reports that nothing is pushed."""
    server = serve(newest, workers=1).wait_until_it_serves()
    off = f"{CONFIG}from gunicorn_backlog import configure\nconfigure(enabled=False)\n"
    server.reload(off)
    wait_for(
        "the pushes to be disabled",
        lambda: not status_here(server.pid, seconds=0.1)["server"]["enabled"],
    )
    done = run_here("status", str(server.pid), "--seconds", "0.1")
    assert "switched off (enabled=False)" in done.lines[1]


def test_a_warning_that_a_reload_mends(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A warning ends with its cause, and is logged again when the cause returns."""
    host, _, port = agent.url.removeprefix("udp://").partition(":")
    bad = f"{CONFIG}raw_env = ['DD_DOGSTATSD_URL=http://agent']\n"
    environ = {"DD_AGENT_HOST": host, "DD_DOGSTATSD_PORT": port}
    server = serve(newest, workers=1, config=bad, environ=environ).wait_until_it_serves()

    def warned() -> list[str]:
        found: list[str] = status_here(server.pid, seconds=0.1)["server"]["warnings"]
        return found

    for times in (1, 2):
        (warning,) = wait_for("the warning", warned)
        assert warning == "DD_DOGSTATSD_URL='http://agent': the scheme is 'http'; ignored"
        wait_for("the line", lambda: server.log.count(warning) == times)  # noqa: B023
        server.reload(CONFIG)
        wait_for("no warning", lambda: not warned())
        server.reload(bad)


def app_of(pid: int) -> str | None:
    """Return the app's name in the report of ``status``; None: there is no such server."""
    done = run_here("status", str(pid), "--json", "--seconds", "0.1")
    return json.loads(done.out)["server"]["app"] if done.code == 0 else None


def test_an_upgrade(newest: Gunicorn, serve: ServerFactory) -> None:
    """Two masters are two servers with different app names; the promoted one then has the first."""
    config = f"{CONFIG}from gunicorn_backlog import configure\nconfigure(interval=0.2)\n"
    server = serve(newest, config=config).wait_until_it_serves()
    workers = wait_for("both workers", server.both_worker_pids)
    wait_for("idle workers", lambda: all_idle(server.pid, ()))
    server.signal(signal.SIGUSR2)
    (new,) = wait_for("a new master", lambda: server.worker_pids() - workers)
    # Between its fork and its exec the new master has the memory of the former one.
    wait_for("the new server", lambda: app_of(new) == "lab.2")
    former, latter = status_here(server.pid), status_here(new)
    assert (former["server"]["app"], latter["server"]["app"]) == ("lab", "lab.2")
    assert {worker["pid"] for worker in former["workers"]} == workers
    server.signal(signal.SIGTERM)
    wait_for("the promotion", lambda: status_here(new, seconds=0.1)["server"]["app"] == "lab")
    os.kill(new, signal.SIGTERM)
    wait_for("the new master to end", lambda: not is_alive(new))
