"""Every kind of socket, and third-party DogStatsD servers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes
from tests.lab.ss import enforced
from tests.lab.third_party_agents import datadog_server, netdata
from tests.lab.waiting import wait_for

UDP_PAYLOAD = 1432  # bytes at most
KINDS = {
    "udp": Address("udp", host="127.0.0.1", port=0),
    "unixgram": Address("unixgram", path="/unixgram"),
    "unixstream": Address("unixstream", path="/unixstream"),
    "unix": Address("unix", path="/unix"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_points_arrive_over_every_kind_of_socket(
    kind: str, gunicorn: Gunicorn, serve: ServerFactory, listen: AgentFactory, tmp_path: Path
) -> None:
    """One push is one payload with all points, over every kind of socket."""
    address = KINDS[kind]
    if address.path:
        address = Address(address.scheme, path=f"{tmp_path}{address.path}")
    agent = listen(address)
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_SAMPLES": "4"}
    server = serve(gunicorn, environ=environ).wait_until_it_serves()
    server.hold(3)
    wait_for("both at work", lambda: next_pushes(agent, 1)[0].workers["working"] == 2)
    found = next_pushes(agent, 3)
    sizes = [len(datagram.octets) for datagram in agent.datagrams]

    listener, bind = f"listener:{server.address}", f"bind:{server.address}"
    for push in found:
        assert [(line.name, line.type, line.values, sorted(line.tags)) for line in push.lines] == [
            ("gunicorn.backlog", "h", (1,) * 4, ["app:lab", bind, listener]),
            ("gunicorn.backlog.limit", "g", (enforced(2048),), ["app:lab", bind, listener]),
            ("gunicorn.backlog.dropped", "c", (0,), ["app:lab", bind, listener]),
            ("gunicorn.workers", "g", (0,), ["app:lab", bind, "state:idle"]),
            ("gunicorn.workers", "g", (2,), ["app:lab", bind, "state:working"]),
            ("gunicorn.workers", "g", (0,), ["app:lab", bind, "state:starting"]),
            ("gunicorn.requests.in_flight", "g", (2,), ["app:lab", bind]),
            ("gunicorn.workers.spawned", "c", (0,), ["app:lab", bind]),
            ("gunicorn.workers.utilization", "g", (100,), ["app:lab", bind]),
            ("gunicorn.workers.saturated", "g", (100,), ["app:lab", bind]),
            ("gunicorn.request.wait.avg", "g", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.max", "g", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.95percentile", "g", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.count", "c", (0,), ["app:lab", bind]),
            ("gunicorn.is_running", "_sc", (0,), ["app:lab", bind]),
        ]
    assert max(sizes) <= UDP_PAYLOAD


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_unix_supports_both_kinds_of_socket(
    kind: str, newest: Gunicorn, serve: ServerFactory, listen: AgentFactory, tmp_path: Path
) -> None:
    """``unix://`` works with a datagram socket and with a stream socket."""
    path = f"{tmp_path}/agent"
    address = Address("unixstream" if kind == "stream" else "unixgram", path=path)
    agent = listen(address)
    environ = {"GUNICORN_BACKLOG_URL": f"unix://{path}", "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    serve(newest, environ=environ)

    assert next_pushes(agent, 2)[0].workers["starting"] == 0


@pytest.mark.parametrize(
    ("backlog_type", "letter", "values"), [("gauge", "g", 1), ("distribution", "d", 10)]
)
def test_the_other_types_of_the_backlog(
    backlog_type: str,
    letter: str,
    values: int,
    newest: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """A gauge has the interval's maximum, a distribution every sample."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_TYPE": backlog_type}
    serve(newest, environ=environ)

    for push in next_pushes(agent, 2):
        (line,) = push.all("gunicorn.backlog")
        assert (line.type, line.values) == (letter, (0,) * values)


@pytest.mark.parametrize("backlog_type", ["gauge", "distribution"])
def test_datadogs_own_server_parses_every_packet(
    backlog_type: str, gunicorn: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Datadog's server parses all metrics, and flushes series with our tags."""
    variables = {
        "GUNICORN_BACKLOG_URL": "udp://127.0.0.1:8125",
        "GUNICORN_BACKLOG_TYPE": backlog_type,
        "GUNICORN_BACKLOG_TAGS": "team:web",
        "DD_ENV": "prod",
    }
    with datadog_server(tmp_path) as datadog:
        wait_for("the server to listen", lambda: "starting to listen" in datadog.log)
        server = serve(gunicorn, environ=variables, run_by=datadog.inside())
        wait_for("a flush", lambda: "Sending body" in datadog.log, deadline_s=40)
        server.process.terminate()
        server.process.wait(timeout=20)
        log = datadog.log
        _send_junk(datadog.inside())
        wait_for("an error, as an example of its text", lambda: "Failed to parse" in datadog.log)

    found = re.findall(r"contains (\d+) metric strings\n.*Parsed (\d+) valid metrics", log)
    assert len(found) >= 3
    # The server ignores service checks: one line of each push.
    assert all(int(valid) == int(lines) - 1 for lines, valid in found)
    assert "Failed to parse" not in log
    tags = ('"app:lab"', '"env:prod"', '"team:web"')
    sent = [line for line in log.splitlines() if "::shipping: Sending" in line]
    for name in ("workers", "workers.spawned", "requests.in_flight", "backlog.limit", "backlog"):
        (flushed,) = re.findall(rf'metric: "gunicorn\.{name}", .*?tags: \[(.*?)\]', sent_of(sent))[
            :1
        ]
        assert all(tag in flushed for tag in tags)


def sent_of(lines: list[str]) -> str:
    """Return all flushed series and sketches as one text, without points."""
    return re.sub(r"distributions: \[\], ", "", " ".join(lines))


def _send_junk(inside: tuple[str, ...]) -> None:
    script = "import socket; socket.socket(2, 2).sendto(b'junk', ('127.0.0.1', 8125))"
    subprocess.run([*inside, "python3", "-c", script], check=True)


def test_netdata_shows_the_histogram(
    newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """netdata computes minimum, maximum and median of our samples."""
    with netdata(tmp_path) as receiver:
        server = serve(newest, environ={"GUNICORN_BACKLOG_URL": receiver.url})
        server.wait_until_it_serves().hold(9)

        chart = "statsd_gunicorn.backlog_histogram"
        row = wait_for("7 waiting", lambda: _if_steady(receiver.latest(chart)), deadline_s=40)
        limit = receiver.latest("statsd_gunicorn.backlog.limit_gauge")

    assert (row["min"], row["median"], row["max"]) == (7, 7, 7)
    assert limit["gauge"] == enforced(2048)


def _if_steady(row: dict[str, float]) -> dict[str, float]:
    return row if row.get("min") == 7 else {}
