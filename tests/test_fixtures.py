"""The tests' own fixtures: servers stop before Agents, and ports are given out once."""

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
    """Record in which order servers and Agents stop; this is set up first, so torn down last."""
    order: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((Server, "__exit__"), (StandInAgent, "stop")):
            patch.setattr(kind, name, recording(order, kind, getattr(kind, name)))
        yield order
    assert order == ["Server", *["StandInAgent"] * (len(order) - 1)]
    assert len(order) > 1


def recording(order: list[str], kind: type, method: object) -> object:
    """Return the method, whose calls are recorded."""

    def recorded(self: object, *args: object) -> object:
        order.append(kind.__name__)
        return method(self, *args)  # type: ignore[operator]  # a method of either class

    return recorded


def test_a_server_stops_before_the_agent_that_came_after_it(
    stopped: list[str], newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Whichever fixture a test names first: what is pushed at the end comes to nobody else."""
    serve(newest)


def test_a_server_stops_before_the_agent_that_came_before_it(
    stopped: list[str], newest: Gunicorn, agent: StandInAgent, serve: ServerFactory
) -> None:
    """The same in the other order."""
    serve(newest)


def test_a_server_stops_before_agents_that_a_test_starts(
    stopped: list[str], newest: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """Also before those that it starts while the server runs."""
    first = listen()
    serve(newest)
    assert first.url != listen().url


def test_ports_are_given_out_once() -> None:
    """Not to a later test, when they are free again; and none is one that the kernel gives out."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest = int(file.read().split()[0])
    ports = [free_port(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) * 100]
    assert len(set(ports)) == len(ports)
    assert all(FIRST <= port <= LAST < lowest for port in ports)
