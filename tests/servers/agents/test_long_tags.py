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
from tests.lab.third_party_agents import datadog_server
from tests.lab.waiting import wait_for

ACCEPTED = 8192  # bytes: an Agent's dogstatsd_buffer_size
WARNING = "[WARNING] gunicorn_backlog:"
LEFT_OUT = r"gunicorn_backlog: (\d+) of (\d+) metrics are not sent: with their tags each is longer"


def tags(count: int) -> str:
    """Return ``count`` tags of 192 characters each."""
    return ",".join(f"k{number:02}:{'x' * 188}" for number in range(count))


@pytest.mark.parametrize("scheme", ["udp", "unixgram", "unixstream"])
@pytest.mark.parametrize(("count", "all_fit"), [(41, True), (42, False), (45, False)])
def test_no_datagram_is_longer_than_an_agent_accepts(
    count: int,
    all_fit: bool,
    scheme: str,
    newest: Gunicorn,
    serve: ServerFactory,
    tmp_path: Path,
) -> None:
    """Datagrams and messages have at most 8,192 bytes; lines that fit arrive, one is logged."""
    path = "" if scheme == "udp" else f"{tmp_path}/agent"
    with StandInAgent(Address(scheme, "" if path else "127.0.0.1", path=path)) as agent:
        environ = {
            "GUNICORN_BACKLOG_URL": agent.url,
            "GUNICORN_BACKLOG_INTERVAL": "0.3",
            "GUNICORN_BACKLOG_SAMPLES": "100",
            "DD_TAGS": tags(count),
            "DD_ORIGIN_DETECTION_ENABLED": "false",
        }
        # Lines with the tag of this listener are too long even where lines of workers fit.
        second = ("--bind", f"unix:{tmp_path}/{'x' * 30}")
        server = serve(newest, workers=1, arguments=second, environ=environ).wait_until_it_serves()
        if count < 45:
            name = b"gunicorn.workers:"
            wait_for(
                "pushes", lambda: sum(name in datagram.octets for datagram in agent.datagrams) > 6
            )
        if not all_fit:
            wait_for("the line", lambda: re.search(LEFT_OUT, server.log))
        reload_and_wait(server)
        assert all(len(datagram.octets) <= ACCEPTED for datagram in agent.datagrams)
        names = {line.name for datagram in agent.datagrams for line in datagram.lines}
    ours = [line for line in server.log.splitlines() if WARNING in line]
    # Seventeen datagrams of 8 KB exceed the queue of a Unix socket.
    ours = [line for line in ours if SLOW not in line]
    assert len(ours) == (not all_fit)
    if all_fit:
        assert {"gunicorn.backlog", "gunicorn.workers", "gunicorn.requests.in_flight"} <= names
    else:
        assert "DD_TAGS" in ours[0]
        assert bool(names) == (count == 42)


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
