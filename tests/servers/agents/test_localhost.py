"""An Agent at localhost is reached at 127.0.0.1 and at ::1, without a look-up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import ServerFactory
from tests.lab.agent_outages import AGAIN, AWAY, wait_until_logged
from tests.lab.dns import Names, silent_name_server
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.pushes import next_pushes
from tests.lab.waiting import wait_for

WARNING = "[WARNING] gunicorn_backlog:"


@pytest.mark.parametrize("name", ["localhost", "localhost.", "agent.localhost"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_with_no_hosts_and_a_name_server_that_never_answers(
    host: str, name: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Pushes arrive without a query to a name server and without a warning."""
    with (
        silent_name_server() as name_server,
        StandInAgent(Address("udp", host, free_port(socket.SOCK_DGRAM, "::"))) as agent,
    ):
        names = Names(tmp_path, name_server.host)
        (tmp_path / "hosts").write_text("")
        environ = {"GUNICORN_BACKLOG_URL": f"udp://{name}:{agent.url.rpartition(':')[2]}"}
        server = serve(newest, environ=environ, run_by=names.run_by).wait_until_it_serves()
        next_pushes(agent, 3)
        assert name_server.look_ups == 0
    assert WARNING not in server.log


@pytest.mark.parametrize(
    ("host", "listens"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("[::1%1]", "::1")]
)
def test_a_number(
    host: str, listens: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Numbers, with an interface or in brackets, need no name server."""
    with (
        silent_name_server() as name_server,
        StandInAgent(Address("udp", listens, free_port(socket.SOCK_DGRAM, "::"))) as agent,
    ):
        names = Names(tmp_path, name_server.host)
        environ = {
            "DD_AGENT_HOST": host,
            "DD_DOGSTATSD_PORT": agent.url.rpartition(":")[2],
        }
        server = serve(newest, environ=environ, run_by=names.run_by).wait_until_it_serves()
        next_pushes(agent, 2)
        assert name_server.look_ups == 0
    assert WARNING not in server.log


def test_an_agent_that_moves_between_its_addresses(
    gunicorn: Gunicorn, serve: ServerFactory
) -> None:
    """A move loses no push and logs nothing; each outage causes one warning."""
    port = free_port(socket.SOCK_DGRAM, "::")
    places = [Address("udp", host, port) for host in ("::1", "127.0.0.1")]
    environ = {"GUNICORN_BACKLOG_URL": f"udp://localhost:{port}"}
    with StandInAgent(places[0]) as first:
        server = serve(gunicorn, environ=environ).wait_until_it_serves()
        next_pushes(first, 2)
        with StandInAgent(places[1]) as second:
            first.stop()
            next_pushes(second, 2)
            gap_s = second.datagrams[0].at_s - first.datagrams[-1].at_s
            assert gap_s < 1.5, "one interval is 1 s"
            assert WARNING not in server.log
    wait_until_logged(server, AWAY, 1)
    with StandInAgent(places[0]) as third:
        next_pushes(third, 2)
        wait_until_logged(server, AGAIN, 1)
    wait_for("the second outage", lambda: server.log.count(AWAY) == 2)
    assert server.log.count(WARNING) == 2
