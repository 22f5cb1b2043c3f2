"""``check``: a healthy environment is ok, and each planted fault is found."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from agent import StandInAgent
from gunicorn.config import Config

from gunicorn_backlog.cli.check.command import DEFAULT_BACKLOG
from gunicorn_backlog.cli.check.config import OLDEST
from gunicorn_backlog.cli.check.findings import lines, warning
from tests.conftest import ServerFactory
from tests.lab.check_command import FAILED, OK, WARNING, WriteConfig, check, has_finding
from tests.lab.cli_command import ROOT, run_cli
from tests.lab.cli_in_one_process import run_each
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.sandbox import as_pid_1, network, refusing
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for

TOO_OLD = "20.0.4"
# Other tests read configs with the newest one.
OLDEST_BY_DAY = pytest.mark.parametrize(
    "gunicorn", [VERSIONS[0], nightly(VERSIONS[-1], id=VERSIONS[-1])], indirect=True
)


def test_a_terminal_is_told_nothing_by_it() -> None:
    """Escape sequences in findings and remedies are printed as blanks."""
    hostile = "\x1b[2Jx\n"
    assert lines(warning("hooks", hostile, hostile)) == [
        "warning  hooks          [2Jx ",
        f"{'':22} ->  [2Jx ",
    ]


def test_all_is_well(config: WriteConfig, agent: StandInAgent) -> None:
    """Each line is ok, and the Agent receives a datagram without a metric."""
    done = check(*config(CONFIG), environ={"GUNICORN_BACKLOG_URL": agent.url})
    levels = {line.split()[0] for line in done.lines}
    assert (done.code, levels, done.err) == (OK, {"ok"}, "")
    whats = {line[9:].partition("  ")[0] for line in done.lines}
    assert whats == {
        *("platform", "TCP_INFO", "netlink", "drops", "Unix sockets", "memfd", "backlog"),
        *("versions", "hooks", "worker class", "Agent"),
    }
    assert has_finding(done, "ok", "TCP_INFO", "one connection waits reads 1")
    assert [datagram.octets for datagram in agent.datagrams] == [b"\n"]
    assert agent.datagrams[0].lines == []


NO_NETLINK = {"warning netlink", "warning Unix sockets"}


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ("TCP_INFO", {"warning TCP_INFO"}),
        ("netlink", NO_NETLINK),
        ("TCP_INFO,netlink", {"failed TCP_INFO", *NO_NETLINK}),
        ("SO_MEMINFO,netlink", {"warning drops", *NO_NETLINK}),
        ("memfd", {"warning memfd"}),
    ],
)
def test_what_the_kernel_refuses(refused: str, expected: set[str], agent: StandInAgent) -> None:
    """Each refused system call is found, with errno and remedy; all other checks are ok."""
    run_by = refusing(*refused.split(","))
    done = check(run_by=run_by, environ={"GUNICORN_BACKLOG_URL": agent.url})
    assert done.code == (FAILED if "failed TCP_INFO" in expected else WARNING), done.out
    bad = [line for line in done.lines if line.startswith(("warning", "failed"))]
    whats = {re.sub(" +", " ", line[:22]).strip() for line in bad}
    assert whats == {*expected, "warning server"}, done.out
    assert all("EPERM" in line for line in bad if " server " not in line)
    assert done.out.count("-> allow ") == len(expected)


def test_a_unit_without_netlink(agent: StandInAgent) -> None:
    """The remedy is the unit's setting; Unix sockets are read without a limit."""
    run_by = refusing("netlink=EAFNOSUPPORT")
    done = check(run_by=run_by, environ={"GUNICORN_BACKLOG_URL": agent.url})
    assert done.code == WARNING, done.out
    assert has_finding(
        done, "warning", "Unix sockets", "are read from /proc/net/unix, without a limit"
    )
    assert has_finding(done, "warning", "netlink", "inet_diag: EAFNOSUPPORT")
    remedy = "-> add AF_NETLINK to RestrictAddressFamilies= of the systemd unit that this runs in"
    assert done.out.count(remedy) == 2


def test_a_clamped_backlog(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """A small somaxconn is found without a server, and for a running one."""
    with network() as net:
        net.set_somaxconn(99)
        done = check(place=net.inside(), environ={"GUNICORN_BACKLOG_URL": agent.url})
        text = "gunicorn requests 2048, net.core.somaxconn clamps it to 99"
        assert has_finding(done, "warning", "backlog", text), done.out
        assert "-> raise net.core.somaxconn" in done.out
        environ = {"GUNICORN_BACKLOG_URL": agent.url}
        server = serve(newest, workers=1, run_by=net.inside(), environ=environ)
        text = f"{server.address}: gunicorn requests 2048, the kernel enforces 99"
        inside = ("nsenter", "--target", str(server.pid), "--net")
        wait_for("the worker", server.worker_pids)

        def is_found() -> bool:
            done = run_cli("check", str(server.pid), run_by=inside)
            return has_finding(done, "warning", "backlog", text)

        wait_for("the finding about the server", is_found)


def test_a_gunicorn_that_is_too_old(
    installed: Callable[[str], Gunicorn], agent: StandInAgent
) -> None:
    """The finding has the installed and the required version."""
    old = installed(TOO_OLD)
    environ = old.environ(GUNICORN_BACKLOG_URL=agent.url)
    done = run_cli("check", run_by=as_pid_1(), environ=environ)
    assert done.code == FAILED, done
    assert has_finding(done, "failed", "versions", f"gunicorn {TOO_OLD} is too old: 20.1 is needed")


def test_the_oldest_versions_are_those_of_the_package() -> None:
    """The versions of ``dependencies`` are those that ``check`` requires."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("dependencies = ")]
    needed = re.findall(r'"(.*?)"', line)
    ours = [f"{name}>={'.'.join(map(str, version))}" for name, version in OLDEST.items()]
    assert sorted(needed) == sorted(ours)


def test_the_default_backlog_is_gunicorns() -> None:
    """Without a config, gunicorn's own default is compared with somaxconn."""
    assert Config().backlog == DEFAULT_BACKLOG


def test_neither_a_server_nor_a_config(agent: StandInAgent) -> None:
    """Hooks and worker class are reported as unknown."""
    done = check(environ={"GUNICORN_BACKLOG_URL": agent.url})
    assert has_finding(done, "warning", "server", "hooks and worker class are unknown")
    assert "-> pass gunicorn's arguments: gunicorn-backlog check -- --config" in done.out


def test_arguments_in_the_environment(agent: StandInAgent) -> None:
    """Without a server and a config, GUNICORN_CMD_ARGS is read."""
    arguments = "--config python:gunicorn_backlog.hooks --backlog 5"
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_CMD_ARGS": arguments}
    given = ("check", "--", *arguments.split()[:2], "app:app")
    done, and_given = run_each([("check",), given], run_by=as_pid_1(), environ=environ)
    assert done.code == OK, done
    text = "if the server is gunicorn's own command: post_worker_init is ours"
    assert has_finding(done, "ok", "hooks", text)
    assert has_finding(and_given, "ok", "hooks", "  post_worker_init is ours"), and_given


@OLDEST_BY_DAY
def test_a_hook_that_ours_replaces(
    gunicorn: Gunicorn, config: WriteConfig, agent: StandInAgent
) -> None:
    """A replaced hook is found with each gunicorn, and the remedy keeps both hooks."""
    arguments = config(f"def when_ready(server):\n    pass\n{CONFIG}")
    environ = gunicorn.environ(GUNICORN_BACKLOG_URL=agent.url)
    done = run_cli("check", "--", *arguments, "app:app", run_by=as_pid_1(), environ=environ)
    assert done.code == FAILED
    text = "when_ready of the config (line 1) is replaced by the import of ours in line 3"
    assert has_finding(done, "failed", "hooks", text), done
    assert "-> let the config end with: " in done.out
    assert "hooks.install(globals())" in done.out


def test_a_running_server(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Findings about a running server cover its workers, listeners and Agent."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    server = serve(newest, environ=environ, arguments=("--backlog", "5"))
    wait_until_all_are_idle(agent)
    done = run_here("check", str(server.pid))
    assert has_finding(done, "ok", "server", f"lab, pid {server.pid}, gunicorn {newest.version}")
    assert has_finding(done, "ok", "hooks", "all 2 workers report")
    assert has_finding(done, "ok", "listener", f"{server.address}: 0 wait, the limit is 5")
    assert has_finding(done, "ok", "Agent", agent.url)
    agent.stop()
    done = run_here("check", str(server.pid))
    assert done.code == FAILED
    assert has_finding(done, "failed", "Agent", "ECONNREFUSED")


# A subclass of gunicorn's worker that can't be instrumented: ``handle`` is a property.
UNINSTRUMENTABLE = """
from gunicorn.workers.sync import SyncWorker
from gunicorn_backlog.hooks import *
class Own(SyncWorker):
    @property
    def handle(self):
        return super().handle
worker_class = Own
"""


def test_workers_that_can_not_be_instrumented(newest: Gunicorn, serve: ServerFactory) -> None:
    """Failed instrumentation is reported, and not a missing hook."""
    server = serve(newest, config=UNINSTRUMENTABLE)
    text = "2 workers report that their instrumentation failed"

    def is_found() -> bool:
        return has_finding(run_here("check", str(server.pid)), "warning", "hooks", text)

    wait_for("the finding about both workers", is_found)
