"""``check``: findings about the Agent."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.check.agent import finding
from gunicorn_backlog.config.agent_address import DISABLED, Address
from tests.conftest import ServerFactory
from tests.lab.check_command import FAILED, check, has_finding
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.hostile_agents import SLOW
from tests.lab.ports import free_port
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.sandbox import as_nobody, require
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for


def test_no_agent() -> None:
    """Without a socket at the port the finding is a failure with ECONNREFUSED."""
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    done = check(environ={"GUNICORN_BACKLOG_URL": url})
    assert done.code == FAILED
    assert has_finding(done, "failed", "Agent", f"{url} accepts no datagram: ECONNREFUSED")
    assert "-> start the Agent, or set its address" in done.out


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_agent_at_localhost(host: str) -> None:
    """Both addresses of localhost are tried, as by a server; without an Agent the check fails."""
    with StandInAgent(Address("udp", host, 0)) as agent:
        port = agent.url.rpartition(":")[2]
        done = check(environ={"DD_DOGSTATSD_PORT": port})
        assert has_finding(done, "ok", "Agent", f"udp://localhost:{port} does not refuse"), done
    done = check(environ={"DD_DOGSTATSD_PORT": port})
    assert has_finding(
        done, "failed", "Agent", f"udp://localhost:{port} accepts no datagram: ECONNREFUSED"
    )


def test_a_name_that_nobody_knows() -> None:
    """The finding for an unresolvable name has the resolver's error."""
    done = check(environ={"DD_AGENT_HOST": "agent.invalid"})
    assert done.code == FAILED
    assert has_finding(done, "failed", "Agent", "udp://agent.invalid:8125: ")


@pytest.fixture
def closed_socket() -> Iterator[str]:
    """An Agent's socket without write permission for other users, in a readable folder."""
    path = Path(tempfile.gettempdir()) / f"closed-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        path.chmod(0o700)
        yield str(path)
    path.unlink()


def test_a_socket_without_permission(
    closed_socket: str, newest: Gunicorn, agent: StandInAgent
) -> None:
    """A socket without write permission is a failure with EACCES and a remedy."""
    environ = {"GUNICORN_BACKLOG_URL": f"unix://{closed_socket}"}
    done = check(run_by=as_nobody(newest.folder), environ=environ)
    assert done.code == FAILED
    assert has_finding(
        done, "failed", "Agent", f"unix://{closed_socket} accepts no datagram: EACCES"
    )
    assert "-> give this user write permission for the socket" in done.out


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """A missing socket, as of a folder that is not mounted, is a failure with ENOENT."""
    done = check(environ={"GUNICORN_BACKLOG_URL": f"unix://{tmp_path}/none"})
    assert done.code == FAILED
    assert has_finding(done, "failed", "Agent", "ENOENT")


def test_an_agent_whose_queue_is_full(tmp_path: Path) -> None:
    """The remedy for a full queue equals the server's log line."""
    path = str(tmp_path / "slow")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        slow.bind(path)
        sender.setblocking(False)
        with suppress(BlockingIOError):
            while sender.sendto(b"\n", path):
                pass
        found = finding(f"unix://{path}", disabled=False)
    assert "accepts no datagram: EAGAIN" in found.text
    assert SLOW in found.remedy


DISABLE = {"DD_DOGSTATSD_DISABLE": "true"}


def test_an_agent_that_is_disabled(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The server's environment after its config decides, not the environment of ``check``."""
    config = f"{CONFIG}raw_env = ['DD_DOGSTATSD_DISABLE=%s']\n"
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    server = serve(newest, workers=1, config=config % "false", environ=environ | DISABLE)
    wait_until_all_are_idle(agent, workers=1)
    done = run_here("check", str(server.pid), environ=DISABLE)
    assert has_finding(done, "ok", "Agent", agent.url), done
    server.reload(config % "true")

    def is_disabled() -> bool:
        return has_finding(run_here("check", str(server.pid)), "warning", "Agent", DISABLED)

    wait_for("the Agent to be disabled", is_disabled)
    assert DISABLED in run_here("status", str(server.pid)).lines[1]


def test_other_files_than_ours(newest: Gunicorn, serve: ServerFactory) -> None:
    """A path in another mount namespace is not tried: there the path has another meaning."""
    require("unshare", "-m", "true")
    environ = {"GUNICORN_BACKLOG_URL": "unix:///mnt/none.socket"}
    server = serve(newest, workers=1, run_by=("unshare", "-m"), environ=environ)
    server.wait_until_it_serves()
    done = run_here("check", str(server.pid))
    text = "unix:///mnt/none.socket not tried: the server has other files"
    assert has_finding(done, "warning", "Agent", text), done
    assert "-> run this in the server's container" in done.out
