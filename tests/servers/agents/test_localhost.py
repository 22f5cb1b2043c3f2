"""An Agent at localhost is reached at 127.0.0.1 and at ::1, without a look-up."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import ServerFactory
from tests.lab.agent_outages import AGAIN, AWAY, wait_until_logged
from tests.lab.dns import Names, silent_name_server
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.pushes import next_pushes
from tests.lab.reloading import reload_and_wait
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for

WARNING = "[WARNING] gunicorn_backlog:"
NAMES = ("localhost", "localhost.", "agent.localhost")
URLS = [(name, listens) for name in NAMES for listens in ("127.0.0.1", "::1")]
NUMBERS = [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("[::1%1]", "::1")]


def url_config(host: str, port: int) -> str:
    """Return a config with the Agent's URL in its environment."""
    url = f"udp://{host}:{port}"
    return f"import os; os.environ['GUNICORN_BACKLOG_URL'] = {url!r}\n{CONFIG}"


def host_config(host: str, port: int) -> str:
    """Return a config with the variables of the Agent's host and port in its environment."""
    variables = {"DD_AGENT_HOST": host, "DD_DOGSTATSD_PORT": str(port)}
    return (
        "import os; os.environ.pop('GUNICORN_BACKLOG_URL', None)\n"
        f"os.environ.update({variables})\n{CONFIG}"
    )


def test_with_no_hosts_and_a_name_server_that_never_answers(
    newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Pushes arrive at each name and number of localhost, without a query and a warning.

    A name's Agent listens at one of its two addresses. Numbers can have brackets and an interface.
    One server is reloaded for each case.
    """
    cases = [(url_config, *case) for case in URLS] + [(host_config, *case) for case in NUMBERS]
    with ExitStack() as stack:
        name_server = stack.enter_context(silent_name_server())
        names = Names(tmp_path, name_server.host)
        (tmp_path / "hosts").write_text("")
        server = None
        for config_of, host, listens in cases:
            port = free_port(socket.SOCK_DGRAM, "::")
            # Each Agent listens to the end: the former one receives pushes until the reload.
            agent = stack.enter_context(StandInAgent(Address("udp", listens, port)))
            config = config_of(host, port)
            if server is None:
                environ = {"GUNICORN_BACKLOG_INTERVAL": "0.1"}
                server = serve(
                    newest, workers=1, config=config, environ=environ, run_by=names.run_by
                )
                server.wait_until_it_serves()
            else:
                reload_and_wait(server, config)
            next_pushes(agent, 3)
            assert WARNING not in server.log, host
            assert name_server.look_ups == 0, host


def test_an_agent_that_moves_between_its_addresses(newest: Gunicorn, serve: ServerFactory) -> None:
    """A move loses no push and logs nothing; each outage causes one warning."""
    port = free_port(socket.SOCK_DGRAM, "::")
    places = [Address("udp", host, port) for host in ("::1", "127.0.0.1")]
    environ = {"GUNICORN_BACKLOG_URL": f"udp://localhost:{port}"}
    with StandInAgent(places[0]) as first:
        server = serve(newest, workers=1, environ=environ).wait_until_it_serves()
        next_pushes(first, 1)
        with StandInAgent(places[1]) as second:
            first.stop()
            next_pushes(second, 1)
            gap_s = second.datagrams[0].at_s - first.datagrams[-1].at_s
            assert gap_s < 1.5, "one interval is 1 s"
            assert WARNING not in server.log
    wait_until_logged(server, AWAY, 1)
    with StandInAgent(places[0]) as third:
        next_pushes(third, 1)
        wait_until_logged(server, AGAIN, 1)
    wait_for("the second outage", lambda: server.log.count(AWAY) == 2)
    assert server.log.count(WARNING) == 2
