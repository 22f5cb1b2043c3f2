"""Agents behind a name that moves, resolves late, or whose look-up hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from socket import SOCK_DGRAM

import pytest

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import ServerFactory
from tests.lab.agent_outages import AGAIN, AWAY, STRAY_S, check_lines, stray_s, wait_until_logged
from tests.lab.agent_process import AgentProcess
from tests.lab.dns import LOOK_UP_S, NAME, Names, silent_name_server
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.hostile_agents import HOSTS
from tests.lab.ports import free_port
from tests.lab.procfs import our_threads
from tests.lab.sandbox import ROOT
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

INTERVAL_S = 1.0  # the default


@pytest.fixture
def addresses() -> list[Address]:
    """Return two addresses with one port, which the Agent uses in turns."""
    port = free_port(SOCK_DGRAM, HOSTS[0])
    return [Address("udp", host, port) for host in HOSTS]


def started(
    gunicorn: Gunicorn, serve: ServerFactory, addresses: list[Address], names: Names
) -> Server:
    """Start a server that pushes to the Agent's name."""
    environ = {"GUNICORN_BACKLOG_URL": f"udp://{NAME}:{addresses[0].port}"}
    return serve(gunicorn, workers=1, environ=environ, run_by=names.run_by)


@forms("rounds", short=1, long=10)
def test_an_agent_that_moves_during_an_outage(
    rounds: int, newest: Gunicorn, serve: ServerFactory, addresses: list[Address], tmp_path: Path
) -> None:
    """A push arrives at the name's new address within two intervals."""
    names, took_s = Names(tmp_path), []
    names.lead_to(HOSTS[0])
    with AgentProcess(addresses[0], tmp_path) as agent:
        server = started(newest, serve, addresses, names)
        agent.wait_for_a_push(since_s=0)
    for number in range(1, rounds + 1):
        wait_until_logged(server, AWAY, number)
        with AgentProcess(addresses[number % 2], tmp_path) as agent:
            since_s = time.monotonic()
            names.lead_to(HOSTS[number % 2])
            took_s.append(agent.wait_for_a_push(since_s))
            wait_until_logged(server, AGAIN, number)
            check_lines(server, number)
    print(f"moved: a push came {max(took_s):.2f} s after its return, of {rounds} the longest")
    assert max(took_s) <= 2 * INTERVAL_S + stray_s(rounds)


@forms("rounds", short=1, long=10)
def test_an_agent_that_moves_without_an_outage(
    rounds: int, newest: Gunicorn, serve: ServerFactory, addresses: list[Address], tmp_path: Path
) -> None:
    """At most one push is lost: this host's refusal causes a look-up at once."""
    names, took_s = Names(tmp_path), []
    names.lead_to(HOSTS[0])
    with ExitStack() as stack:
        agent = stack.enter_context(AgentProcess(addresses[0], tmp_path))
        server = started(newest, serve, addresses, names)
        agent.wait_for_a_push(since_s=0)
        for number in range(1, rounds + 1):
            former = agent
            agent = stack.enter_context(AgentProcess(addresses[number % 2], tmp_path))
            names.lead_to(HOSTS[number % 2])
            former.kill()
            took_s.append(agent.wait_for_a_push(time.monotonic()))
            wait_until_logged(server, AGAIN, number)
            check_lines(server, number)
    print(f"moved at once: a push came {max(took_s):.2f} s later, of {rounds} the longest")
    assert max(took_s) <= 2 * INTERVAL_S + stray_s(rounds)


@forms("rounds", short=1, long=5)
def test_a_name_that_resolves_late(
    rounds: int, newest: Gunicorn, serve: ServerFactory, addresses: list[Address], tmp_path: Path
) -> None:
    """A push arrives within two intervals after the name resolves."""
    took_s = []
    for _ in range(rounds):
        names = Names(tmp_path)
        with AgentProcess(addresses[0], tmp_path) as agent:
            server = started(newest, serve, addresses, names)
            wait_until_logged(server, AWAY, 1)
            since_s = time.monotonic()
            names.lead_to(HOSTS[0])
            took_s.append(agent.wait_for_a_push(since_s))
            wait_until_logged(server, AGAIN, 1)
            check_lines(server, 1)
    print(f"late: a push came {max(took_s):.2f} s after the name, of {rounds} the longest")
    assert max(took_s) <= 2 * INTERVAL_S + stray_s(rounds)


@forms("pushes", short=3, long=8)
def test_one_look_up_at_a_time(
    pushes: int, newest: Gunicorn, serve: ServerFactory, addresses: list[Address], tmp_path: Path
) -> None:
    """A hung look-up is the only one, with one thread, however many pushes are dropped."""
    with silent_name_server() as name_server:
        names = Names(tmp_path, name_server.host)
        server = started(newest, serve, addresses, names)
        wait_until_logged(server, AWAY, 1)
        since_s = time.monotonic()
        wait_for("pushes", lambda: time.monotonic() - since_s > pushes * INTERVAL_S)
        assert name_server.look_ups == 1
        assert len(our_threads(server.pid)) == 2
    assert server.get()


@pytest.mark.soak
def test_a_look_up_that_hangs_and_ends(
    newest: Gunicorn, serve: ServerFactory, addresses: list[Address], tmp_path: Path
) -> None:
    """A name that resolves during a hung look-up is found by the next look-up."""
    with silent_name_server() as name_server, AgentProcess(addresses[0], tmp_path) as agent:
        names = Names(tmp_path, name_server.host)
        server = started(newest, serve, addresses, names)
        wait_until_logged(server, AWAY, 1)
        since_s = time.monotonic()
        names.lead_to(HOSTS[0])
        took_s = agent.wait_for_a_push(since_s)
        wait_until_logged(server, AGAIN, 1)
        check_lines(server, 1)
        print(f"{name_server.look_ups} look-ups; a push came {took_s:.2f} s after the name")
    assert took_s <= LOOK_UP_S + 2 * INTERVAL_S + STRAY_S


@pytest.mark.parametrize("resolves", [True, False], ids=["resolves", "does not resolve"])
@forms("forks", short=150, long=20_000)
def test_no_child_inherits_a_lock_of_the_resolver(
    forks: int, resolves: bool, tmp_path: Path
) -> None:
    """A child forked during a look-up resolves a name without hanging."""
    names = Names(tmp_path)
    if resolves:
        names.lead_to(HOSTS[0])
    command = [
        sys.executable,
        "-m",
        "tests.lab.forks_during_lookup",
        f"udp://{NAME}:8125",
        str(forks),
    ]
    done = subprocess.run(
        [*names.run_by, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(f"{forks} forks beside look-ups: {done.stdout.strip()} children hung")
    assert done.stdout == "0\n", done.stderr
