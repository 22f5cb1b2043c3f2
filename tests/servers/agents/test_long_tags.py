"""Tags that exceed an Agent's line length: lines that fit are sent, one line is logged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.hostile_agents import SLOW
from tests.lab.reloading import reload_and_wait
from tests.lab.server import CONFIG, Server
from tests.lab.third_party_agents import datadog_server
from tests.lab.waiting import wait_for

ACCEPTED = 8192  # bytes: an Agent's dogstatsd_buffer_size
WARNING = "[WARNING] gunicorn_backlog:"
ALL = {"gunicorn.backlog", "gunicorn.workers", "gunicorn.requests.in_flight"}
LEFT_OUT = r"gunicorn_backlog: (\d+) of (\d+) metrics are not sent: with their tags each is longer"


def tags(count: int) -> str:
    """Return ``count`` tags of 192 characters each."""
    return ",".join(f"k{number:02}:{'x' * 188}" for number in range(count))


def with_tags(count: int) -> str:
    """Return a config with ``count`` tags."""
    return f"{CONFIG}raw_env = ['DD_TAGS={tags(count)}']\n"


def names_with(agent: StandInAgent, count: int) -> set[str]:
    """Return the metrics that have come with ``count`` tags."""
    last, none = f"k{count - 1:02}:".encode(), f"k{count:02}:".encode()
    own = [each for each in agent.datagrams if last in each.octets and none not in each.octets]
    return {line.name for datagram in own for line in datagram.lines}


# A push of 100 samples is more datagrams than the queue of a Unix socket holds: if its Agent has
# to wait for a CPU, the last ones are lost in each push.
@pytest.mark.parametrize(
    ("scheme", "samples"), [("udp", 100), ("unixgram", 2), ("unixstream", 100)]
)
def test_no_datagram_is_longer_than_an_agent_accepts(
    scheme: str, samples: int, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Datagrams and messages have at most 8,192 bytes; lines that fit arrive, one is logged.

    With 41 tags all lines fit, with 42 some, with 45 none. Each HUP loads another number of tags,
    and then the same again.
    """
    path = "" if scheme == "udp" else f"{tmp_path}/agent"
    with StandInAgent(Address(scheme, "" if path else "127.0.0.1", path=path)) as agent:
        environ = {
            "GUNICORN_BACKLOG_URL": agent.url,
            "GUNICORN_BACKLOG_INTERVAL": "0.2",
            "GUNICORN_BACKLOG_SAMPLES": str(samples),
            "DD_ORIGIN_DETECTION_ENABLED": "false",
        }
        # Lines with the tag of this listener are too long even where lines of workers fit.
        second = ("--bind", f"unix:{tmp_path}/{'x' * 30}")
        server = serve(
            newest, workers=1, config=with_tags(41), arguments=second, environ=environ
        ).wait_until_it_serves()
        wait_for("all lines", lambda: names_with(agent, 41) >= ALL)
        reload_and_wait(server)
        assert warnings_of(server) == []

        reload_and_wait(server, with_tags(42))
        wait_for("lines that fit", lambda: "gunicorn.workers" in names_with(agent, 42))
        wait_for("the line", lambda: re.search(LEFT_OUT, server.log))
        reload_and_wait(server)
        (some,) = warnings_of(server)

        reload_and_wait(server, with_tags(45))
        wait_for("the line", lambda: len(re.findall(LEFT_OUT, server.log)) == 2)
        reload_and_wait(server)
        assert names_with(agent, 45) == set()
    (same, none) = warnings_of(server)
    assert same == some
    assert "DD_TAGS" in some
    assert "DD_TAGS" in none
    assert all(len(datagram.octets) <= ACCEPTED for datagram in agent.datagrams)


def warnings_of(server: Server) -> list[str]:
    """Return our warnings, without that of an Agent that does not read as fast as a burst comes."""
    lines = [line for line in server.log.splitlines() if WARNING in line]
    return [line for line in lines if SLOW not in line]


def test_datadogs_own_server_reads_what_is_sent(
    newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """No packet exceeds the server's buffer; split samples arrive."""
    environ = {
        "GUNICORN_BACKLOG_URL": "udp://127.0.0.1:8125",
        "GUNICORN_BACKLOG_SAMPLES": "100",
        "GUNICORN_BACKLOG_TYPE": "distribution",
        "DD_TAGS": f"{tags(41)},more:{'y' * 90}",
    }
    with datadog_server(tmp_path) as datadog:
        wait_for("the listener of Datadog's server", lambda: "starting to listen" in datadog.log)
        server = serve(newest, workers=1, environ=environ, run_by=datadog.inside())
        wait_for("pushes", lambda: datadog.log.count("gunicorn.backlog.limit:") > 3)
        server.process.terminate()
        server.process.wait(timeout=20)
        log = datadog.log
    sizes = [int(size) for size in re.findall(r"Received packet: (\d+) bytes", log)]
    assert max(sizes) < ACCEPTED
    assert "Failed to parse" not in log
    sampled = re.findall(r"Received message: gunicorn\.backlog:([0-9:]+)\|d\|#.*more:y{90}\b", log)
    in_a_push = log.partition("Received message: gunicorn.backlog.limit:")[0]
    lines = in_a_push.count("Received message")
    assert lines > 1
    # A busy machine skips samples.
    assert 50 < sum(len(values.split(":")) for values in sampled[:lines]) <= 100
