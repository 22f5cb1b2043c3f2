"""Every kind of socket, and third-party DogStatsD servers."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from gunicorn_backlog.metrics.catalog import EXIT_REASONS
from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.reloading import reload_and_wait
from tests.lab.server import CONFIG
from tests.lab.ss import enforced
from tests.lab.third_party_agents import datadog_server, netdata
from tests.lab.waiting import wait_for

UDP_PAYLOAD, UNIX_PAYLOAD = 1432, 8192  # bytes at most
METRICS = ("workers", "workers.spawned", "requests.in_flight", "backlog.limit", "backlog")


@pytest.mark.parametrize("kind", ["unixgram", "unixstream", "unix"])
def test_the_same_points_arrive_over_every_kind_of_unix_socket(
    kind: str, newest: Gunicorn, serve: ServerFactory, listen: AgentFactory, tmp_path: Path
) -> None:
    """One push is one payload with all points."""
    check_points(newest, serve, listen(Address(kind, path=f"{tmp_path}/{kind}")))


@NEWEST_BY_DAY
def test_the_same_points_arrive_over_udp(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """One push is one payload with all points."""
    check_points(gunicorn, serve, agent)


PERCENT = ("gunicorn.workers.timeout_used", "gunicorn.workers.cpu", "gunicorn.workers.cpu_wait")


def check_points(gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Assert all points of each push of a server with two busy workers and one waiting client."""
    environ = {
        "GUNICORN_BACKLOG_URL": agent.url,
        "GUNICORN_BACKLOG_INTERVAL": "0.4",
        "GUNICORN_BACKLOG_SAMPLES": "4",
    }
    server = serve(gunicorn, environ=environ).wait_until_it_serves()
    since_s = time.monotonic()
    server.hold(3)
    wait_for("both at work", lambda: next_pushes(agent, 1)[0].workers["working"] == 2)
    # A busy machine skips samples.
    found = wait_for("a push with all samples", lambda: pushes_with(agent, samples=4))
    sizes = [len(datagram.octets) for datagram in agent.datagrams]

    listener, bind = f"listener:{server.address}", f"bind:{server.address}"
    for push in found:
        samples = push.values("gunicorn.backlog")
        assert set(samples) == {1}
        (oldest_s,) = push.values("gunicorn.requests.oldest")
        assert 0 < oldest_s < push.at_s - since_s
        for name in PERCENT:
            assert 0 <= push.values(name)[0] <= 100
        points = [
            (line.name, line.type, line.values, sorted(line.tags))
            for line in push.lines
            if line.name not in (*PERCENT, "gunicorn.requests.oldest")
        ]
        assert points == [
            ("gunicorn.backlog", "h", samples, ["app:lab", bind, listener]),
            ("gunicorn.backlog.limit", "g", (enforced(2048),), ["app:lab", bind, listener]),
            ("gunicorn.backlog.dropped", "c", (0,), ["app:lab", bind, listener]),
            ("gunicorn.backlog.lost", "c", (0,), ["app:lab", bind, listener]),
            ("gunicorn.workers", "g", (0,), ["app:lab", bind, "state:idle"]),
            ("gunicorn.workers", "g", (2,), ["app:lab", bind, "state:working"]),
            ("gunicorn.workers", "g", (0,), ["app:lab", bind, "state:starting"]),
            ("gunicorn.requests.in_flight", "g", (2,), ["app:lab", bind]),
            ("gunicorn.workers.spawned", "c", (0,), ["app:lab", bind]),
            *(
                ("gunicorn.workers.exited", "c", (0,), ["app:lab", bind, f"reason:{reason}"])
                for reason in EXIT_REASONS
            ),
            ("gunicorn.workers.utilization", "g", (100,), ["app:lab", bind]),
            ("gunicorn.workers.busiest", "g", (100,), ["app:lab", bind]),
            ("gunicorn.workers.saturated", "g", (100,), ["app:lab", bind]),
            ("gunicorn.requests.begun", "c", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.avg", "g", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.max", "g", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.95percentile", "g", (0,), ["app:lab", bind]),
            ("gunicorn.request.wait.count", "c", (0,), ["app:lab", bind]),
            ("gunicorn.is_running", "_sc", (0,), ["app:lab", bind]),
        ]
    assert max(sizes) <= (UDP_PAYLOAD if agent.url.startswith("udp") else UNIX_PAYLOAD)


def pushes_with(agent: StandInAgent, *, samples: int) -> list[Push]:
    """Wait for the next pushes; return them if one has so many samples, and none has more."""
    found = next_pushes(agent, 3)
    counts = [len(push.values("gunicorn.backlog")) for push in found]
    assert max(counts) <= samples
    return found if samples in counts else []


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_unix_supports_both_kinds_of_socket(
    kind: str, newest: Gunicorn, serve: ServerFactory, listen: AgentFactory, tmp_path: Path
) -> None:
    """``unix://`` works with a datagram socket and with a stream socket."""
    path = f"{tmp_path}/agent"
    address = Address("unixstream" if kind == "stream" else "unixgram", path=path)
    agent = listen(address)
    environ = {"GUNICORN_BACKLOG_URL": f"unix://{path}", "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    serve(newest, workers=1, environ=environ)

    wait_until_all_are_idle(agent, workers=1)


def test_the_other_types_of_the_backlog(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A gauge has the interval's maximum, a distribution every sample."""
    environ = {
        "GUNICORN_BACKLOG_URL": agent.url,
        "GUNICORN_BACKLOG_INTERVAL": "0.4",
        "GUNICORN_BACKLOG_SAMPLES": "4",
    }
    config = f"import gunicorn_backlog\n{CONFIG}gunicorn_backlog.configure(backlog_type=%r)\n"
    server = serve(newest, workers=1, environ=environ, config=config % "gauge")
    server.wait_until_it_serves()
    for push in next_pushes(agent, 2):
        (line,) = push.all("gunicorn.backlog")
        assert (line.type, line.values) == ("g", (0,))

    reload_and_wait(server, config % "distribution")
    # A busy machine skips samples.
    for push in wait_for("a push with all samples", lambda: pushes_with(agent, samples=4)):
        (line,) = push.all("gunicorn.backlog")
        assert (line.type, set(line.values)) == ("d", {0})


def test_datadogs_own_server_parses_every_packet(
    installed: Callable[[str], Gunicorn], serve: ServerFactory, tmp_path: Path
) -> None:
    """Datadog's server parses all metrics, and flushes series with our tags.

    It receives each type of the backlog from one gunicorn, and flushes every ten seconds.
    """
    variables = {
        "GUNICORN_BACKLOG_URL": "udp://127.0.0.1:8125",
        "GUNICORN_BACKLOG_TAGS": "team:web",
        "DD_ENV": "prod",
    }
    with datadog_server(tmp_path) as datadog:
        wait_for("the server to listen", lambda: "starting to listen" in datadog.log)
        servers = [
            serve(
                installed(version),
                workers=1,
                environ={**variables, "GUNICORN_BACKLOG_TYPE": backlog_type},
                run_by=datadog.inside(),
            )
            for version, backlog_type in zip(VERSIONS, ("gauge", "distribution"), strict=True)
        ]
        binds = [f'"bind:{server.address}"' for server in servers]
        wait_for("a flush of all", lambda: all(it in sent_of(datadog.log) for it in binds))
        for server in servers:
            server.process.terminate()
        for server in servers:
            server.process.wait(timeout=40)
        _send_junk(datadog.inside())
        wait_for("an error, as an example of its text", lambda: "Failed to parse" in datadog.log)
        log, junk, _ = datadog.log.partition("Received message: junk")
        assert junk

    lines = [int(count) for count in re.findall(r"contains (\d+) metric strings", log)]
    parsed = [int(count) for count in re.findall(r"Parsed (\d+) valid metrics", log)]
    pushes = log.count("_sc|gunicorn.is_running|")
    assert pushes >= 3 * len(servers)
    # The server ignores service checks, and logs nothing of a packet with only this line.
    assert sum(parsed) == sum(lines) - pushes
    assert "Failed to parse" not in log
    sent = sent_of(log)
    for bind in binds:
        for name in METRICS:
            flushed = re.findall(rf'metric: "gunicorn\.{name}", .*?tags: \[(.*?)\]', sent)
            own = next(tags for tags in flushed if bind in tags)
            assert all(tag in own for tag in ('"app:lab"', '"env:prod"', '"team:web"'))


def sent_of(log: str) -> str:
    """Return all flushed series and sketches as one text, without points."""
    lines = [line for line in log.splitlines() if "::shipping: Sending" in line]
    return re.sub(r"distributions: \[\], ", "", " ".join(lines))


def _send_junk(inside: tuple[str, ...]) -> None:
    script = "import socket; socket.socket(2, 2).sendto(b'junk', ('127.0.0.1', 8125))"
    subprocess.run([*inside, "python3", "-c", script], check=True)


def test_netdata_shows_the_histogram(
    newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """netdata computes minimum, maximum and median of our samples."""
    with netdata(tmp_path) as receiver:
        server = serve(newest, workers=1, environ={"GUNICORN_BACKLOG_URL": receiver.url})
        server.wait_until_it_serves().hold(8)

        chart = "statsd_gunicorn.backlog_histogram"
        row = wait_for("7 waiting", lambda: _if_steady(receiver.latest(chart)), deadline_s=40)
        limit = receiver.latest("statsd_gunicorn.backlog.limit_gauge")

    assert (row["min"], row["median"], row["max"]) == (7, 7, 7)
    assert limit["gauge"] == enforced(2048)


def _if_steady(row: dict[str, float]) -> dict[str, float]:
    return row if row.get("min") == 7 else {}
