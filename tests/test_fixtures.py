"""The tests' own fixtures: servers stop before Agents, and each port is given out once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import FIRST, LAST, RANGES, free_port
from tests.lab.server import Server
from tests.lab.waiting import wait_for

ROOT = Path(__file__).parents[1]
A_RUN = """
import sys, time
from tests.lab.ports import free_port
from tests.lab.process_group import Group
print(free_port(), Group([sys.executable, "-c", "import os, time; os.fork(); time.sleep(60)"]).pid)
sys.stdout.flush()
time.sleep(60)
"""


@pytest.fixture
def stopped() -> Iterator[list[str]]:
    """Record the order in which servers and Agents stop; set up first, torn down last."""
    order: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((Server, "__exit__"), (StandInAgent, "stop")):
            patch.setattr(kind, name, recording(order, kind, getattr(kind, name)))
        yield order
    assert order == ["Server", *["StandInAgent"] * (len(order) - 1)]
    assert len(order) > 1


def recording(order: list[str], kind: type, method: object) -> object:
    """Return the method with a record of its calls."""

    def recorded(self: object, *args: object) -> object:
        order.append(kind.__name__)
        return method(self, *args)  # type: ignore[operator]  # a method of either class

    return recorded


def test_a_server_stops_before_the_agent_that_came_after_it(
    stopped: list[str], newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Whichever fixture a test names first, the last push reaches its own Agent."""
    serve(newest)


def test_a_server_stops_before_the_agent_that_came_before_it(
    stopped: list[str], newest: Gunicorn, agent: StandInAgent, serve: ServerFactory
) -> None:
    """The same holds in the other order."""
    serve(newest)


def test_a_server_stops_before_agents_that_a_test_starts(
    stopped: list[str], newest: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """The same holds for Agents that start while the server runs."""
    first = listen()
    serve(newest)
    assert first.url != listen().url


def test_ports_are_given_out_once() -> None:
    """A port is not given to a later test, and is none that the kernel gives out."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest = int(file.read().split()[0])
    ports = [free_port(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) * 100]
    assert len(set(ports)) == len(ports)
    assert all(FIRST <= port <= LAST < lowest for port in ports)


def test_another_run_has_other_ports_and_leaves_no_server() -> None:
    """A second run of the tests is killed: its processes end, too."""
    command = [sys.executable, "-c", A_RUN]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port, group = map(int, run.stdout.readline().split())
        wait_for("both processes", lambda: len(members(group)) == 2)
        run.send_signal(signal.SIGKILL)
    wait_for("their end", lambda: not members(group))
    size = (LAST - FIRST) // RANGES
    assert (port - FIRST) // size != (free_port() - FIRST) // size


def members(group: int) -> list[int]:
    """Return the pids of a process group, without zombies."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError):
            _, _, stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
            if stat[0] != "Z" and stat.split()[2] == str(group):
                found.append(pid)
    return found
