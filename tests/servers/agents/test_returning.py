"""Agents that return to their address receive a push within two intervals."""

from __future__ import annotations

import time
from pathlib import Path
from socket import SOCK_DGRAM

import pytest

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import ServerFactory
from tests.lab.agent_outages import AGAIN, AWAY, check_lines, stray_s, wait_until_logged
from tests.lab.agent_process import AgentProcess
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.hostile_agents import SLOW, more_listeners
from tests.lab.ports import free_port
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

INTERVAL_S = 0.5
AT_WORK = "gunicorn.workers:1|g|#app:lab,bind:{},state:working"


def address_of(scheme: str, folder: Path) -> Address:
    """Return a free address."""
    if scheme == "udp":
        return Address("udp", "127.0.0.1", free_port(SOCK_DGRAM))
    return Address(scheme, path=f"{folder}/agent")


@pytest.mark.parametrize("scheme", ["udp", "unixgram", "unixstream"])
@forms("rounds", short=1, long=10)
def test_an_agent_that_is_killed_and_restarted(
    rounds: int, scheme: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """After SIGKILL a Unix socket's path remains; the restarted Agent receives pushes."""
    address = address_of(scheme, tmp_path)
    environ = {"GUNICORN_BACKLOG_URL": str(address), "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S)}
    took_s = []
    with AgentProcess(address, tmp_path) as agent:
        server = serve(newest, workers=1, environ=environ).wait_until_it_serves()
        agent.wait_for_a_push(since_s=0)
    for number in range(1, rounds + 1):
        wait_until_logged(server, AWAY, number)
        with AgentProcess(address, tmp_path) as agent:
            took_s.append(agent.wait_for_a_push(agent.began_s))
            wait_until_logged(server, AGAIN, number)
            check_lines(server, number)
    print(f"{scheme}: a push came {max(took_s):.2f} s after its return, of {rounds} the longest")
    assert max(took_s) <= 2 * INTERVAL_S + stray_s(rounds)


@pytest.mark.parametrize("scheme", ["unixgram", "unixstream"])
@forms("rounds", short=1, long=10)
def test_an_agent_that_is_stopped_and_continued(
    rounds: int, scheme: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """A full queue of an Agent in SIGSTOP causes one line, however often."""
    address = address_of(scheme, tmp_path)
    environ = {"GUNICORN_BACKLOG_URL": str(address), "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    took_s = []
    with AgentProcess(address, tmp_path) as agent:
        server = serve(newest, workers=1, environ=environ, arguments=more_listeners(60))
        server.wait_until_it_serves()
        for _ in range(rounds):
            agent.wait_for_a_push(since_s=0)
            agent.stop()
            wait_until_logged(server, SLOW, 1)
            server.hold(1)
            agent.go_on()
            # No push in the Agent's queue has this state.
            at_work = AT_WORK.format(server.address)
            seen = agent.text.count(at_work)
            since_s = time.monotonic()
            wait_for("a new push", lambda: agent.text.count(at_work) > seen)  # noqa: B023
            took_s.append(time.monotonic() - since_s)
            server.let_go()
        assert len(server.our_lines) == server.log.count(SLOW) == 1
    print(f"{scheme}: a push came {max(took_s):.2f} s after it went on, of {rounds} the longest")
    assert max(took_s) <= 2 * 0.1 + stray_s(rounds)
