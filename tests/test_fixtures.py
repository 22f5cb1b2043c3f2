"""The tests' own fixtures: servers stop before Agents, and each port is given out once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import FIRST, LAST, free_port
from tests.lab.server import Server


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
