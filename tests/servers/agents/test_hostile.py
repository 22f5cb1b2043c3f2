"""Failing Agents do not affect the server.

``-m pytest -m soak`` runs the long form, and compares with a server without our hooks.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from agent import Line, StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.hostile_agents import MANY, PLACES, RESTLESS, Place, more_listeners
from tests.lab.latencies import answer_ms, end_ms, p99
from tests.lab.server import CONFIG, Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

REQUESTS = 2000
ROUNDS = 10
SLOWER_MS = 50  # of an end, as medians
PAYLOADS = {"udp": 1432, "unixgram": 8192}  # bytes at most
LAST_LINE = b"_sc|gunicorn.is_running|"  # of each push


def started(place: Place, gunicorn: Gunicorn, serve: ServerFactory, config: str = CONFIG) -> Server:
    """Start a server that pushes to a place."""
    return serve(
        gunicorn,
        workers=1,
        config=config,
        run_by=place.run_by,
        arguments=place.arguments,
        environ={"GUNICORN_BACKLOG_URL": place.url, **place.environ},
    ).wait_until_it_serves()


def ours(server: Server) -> list[str]:
    """Return our lines in the log."""
    return server.our_lines


def in_force(place: Place, server: Server) -> None:
    """Wait for the log line of the place."""
    wait_for(f"{place.line!r} in the log", lambda: place.line in server.log)


@pytest.mark.parametrize("name", PLACES)
@forms("requests", short=30, long=20_000)
def test_every_request_is_answered_and_one_line_is_logged(
    requests: int, name: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Requests are answered, TERM ends the server, and one line is logged."""
    with PLACES[name](tmp_path) as place:
        server = started(place, newest, serve)
        in_force(place, server)
        took = answer_ms(server, requests)
        took_ms = end_ms(server)

    print(f"{name}: {requests} requests, p99 {p99(took):.1f} ms; TERM {took_ms:.0f} ms")
    assert [place.line in line for line in ours(server)] == ([True] if place.line else [])
    assert "Traceback" not in server.log
    assert "submitting packet" not in server.log


@pytest.mark.parametrize("scheme", PAYLOADS)
@forms("count", short=3, long=100)
def test_a_push_of_many_datagrams_arrives_whole(
    count: int,
    scheme: str,
    newest: Gunicorn,
    serve: ServerFactory,
    listen: AgentFactory,
    tmp_path: Path,
) -> None:
    """With 200 listeners no line is lost, and no datagram exceeds its limit."""
    path = "" if scheme == "udp" else f"{tmp_path}/agent"
    address = Address(scheme, host="127.0.0.1" if scheme == "udp" else "", path=path)
    agent = listen(address)
    environ = {"GUNICORN_BACKLOG_INTERVAL": "0.3"}
    place = Place(agent.url, arguments=more_listeners(MANY - 1), environ=environ)
    started(place, newest, serve)
    wait_for("pushes", lambda: ended_pushes(agent) > count, deadline_s=40 + 2 * count)
    found = whole_pushes(agent)

    for push in found:
        for name in ("backlog", "backlog.limit", "backlog.dropped"):
            listeners = [line.tag("listener") for line in push if line.name == f"gunicorn.{name}"]
            assert len(listeners) == len(set(listeners)) == MANY
    sizes = [len(datagram.octets) for datagram in agent.datagrams]
    assert max(sizes) <= PAYLOADS[scheme]
    print(f"{scheme}: {len(found)} pushes of {len(sizes) / len(found):.0f} datagrams, all whole")


def ended_pushes(agent: StandInAgent) -> int:
    """Return the number of pushes so far."""
    return sum(datagram.octets.count(LAST_LINE) for datagram in list(agent.datagrams))


def whole_pushes(agent: StandInAgent) -> list[list[Line]]:
    """Return the lines of each push; the last line is the service check."""
    found: list[list[Line]] = [[]]
    for datagram in list(agent.datagrams):
        for line in datagram.lines:
            found[-1].append(line)
            if line.type == "_sc":
                found.append([])
    return found[:-1]


@pytest.mark.soak
@pytest.mark.parametrize("name", [*PLACES, *RESTLESS])
def test_no_slower_than_without_us(
    name: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Answers and the end after TERM take as long as in a server without our hooks."""
    answers: dict[str, list[float]] = {CONFIG: [], "": []}
    ends: dict[str, list[float]] = {CONFIG: [], "": []}
    with (PLACES | RESTLESS)[name](tmp_path) as place:
        for _ in range(ROUNDS):
            for config in (CONFIG, ""):
                server = started(place, newest, serve, config)
                if config:
                    in_force(place, server)
                answers[config].append(p99(answer_ms(server, REQUESTS)))
                ends[config].append(end_ms(server))

    for what, values in (("p99", answers), ("TERM", ends)):
        with_us, without = (sorted(values[config]) for config in (CONFIG, ""))
        print(
            f"{name}: {what} {median(with_us):.2f} ms ({with_us[0]:.2f} to {with_us[-1]:.2f}), "
            f"without us {median(without):.2f} ms ({without[0]:.2f} to {without[-1]:.2f})"
        )
    assert median(answers[CONFIG]) <= max(answers[""])
    assert median(ends[CONFIG]) - median(ends[""]) < SLOWER_MS
