"""Tests of ``AgentClient`` with real receivers, and with Agents that are unreachable."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address, parse
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd import agent_socket, resolver
from gunicorn_backlog.dogstatsd.client import AgentClient
from gunicorn_backlog.metrics.points import Point
from tests.lab.ports import free_port
from tests.lab.sandbox import network
from tests.lab.waiting import wait_for

POINT = Point("gunicorn.workers", "gauge", (2,), ("app:web", "state:idle"))
LINE = "gunicorn.workers:2|g|#app:web,state:idle"
MOVE = """
import subprocess
from gunicorn_backlog.config.agent_address import parse
from gunicorn_backlog.dogstatsd.client import AgentClient
from gunicorn_backlog.metrics.points import Point
from gunicorn_backlog.config.settings import Settings

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def push():
    agent.push([Point("gunicorn.workers", "gauge", (2,), ())])
    return agent.error

ip("link", "add", "one", "type", "veth", "peer", "name", "other")
ip("link", "set", "one", "up")
ip("link", "set", "other", "up")
ip("addr", "add", "10.9.0.1/24", "dev", "one")
agent = AgentClient(Settings()._replace(address=parse("udp://10.9.0.9:8125")))
print(push())
ip("addr", "del", "10.9.0.1/24", "dev", "one")
print(push())
ip("addr", "add", "10.9.0.2/24", "dev", "one")
print(push())
"""
WITHOUT_IPV4 = """
import socket, subprocess
from gunicorn_backlog.config.agent_address import parse
from gunicorn_backlog.dogstatsd.client import AgentClient
from gunicorn_backlog.metrics.points import Point
from gunicorn_backlog.config.settings import Settings

subprocess.run(["ip", "addr", "del", "127.0.0.1/8", "dev", "lo"], check=True)
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
    receiver.bind(("::1", 8125))
    receiver.settimeout(20)
    agent = AgentClient(Settings()._replace(address=parse("udp://localhost")))
    agent.push([Point("gunicorn.workers", "gauge", (2,), ("app:web", "state:idle"))])
    print(agent.error, receiver.recv(8192).decode(), end="")
"""
Sending = Callable[..., AgentClient]
QUEUE_FULL = "its queue is full"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DD_ENV", "DD_SERVICE", "DD_VERSION", "DATADOG_TAGS", "DD_ENTITY_ID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DD_ORIGIN_DETECTION_ENABLED", "false")


@pytest.fixture
def receiver() -> Iterator[StandInAgent]:
    """Run a stand-in Agent."""
    with StandInAgent() as agent:
        yield agent


@pytest.fixture
def sending_to() -> Iterator[Callable[..., AgentClient]]:
    """Return a function that creates a client for a URL; clients are closed at the end."""
    agents: list[AgentClient] = []

    def make(url: str, **settings: object) -> AgentClient:
        agent = AgentClient(Settings()._replace(address=parse(url), **settings))  # type: ignore[arg-type]
        agents.append(agent)
        return agent

    yield make
    for agent in agents:
        agent.close()


def error_of_push(agent: AgentClient, points: Sequence[Point] = (POINT,)) -> str | None:
    """Push, and return the client's error."""
    agent.push(list(points))
    return agent.error


def received(receiver: StandInAgent) -> str:
    """Wait for a datagram, and return the text of the latest."""
    wait_for("a datagram", lambda: receiver.datagrams)
    return receiver.datagrams[-1].octets.decode()


def test_one_line_a_point(receiver: StandInAgent, sending_to: Sending) -> None:
    """One datagram has a line per point: packed values, and a service check in its own form."""
    packed = Point("gunicorn.backlog", "histogram", (0, 0, 3), ("app:web",))
    check = Point("gunicorn.is_running", "service_check", (0,), ("app:web",))
    sending_to(receiver.url).push([POINT, packed, check])
    assert received(receiver).splitlines() == [
        LINE,
        "gunicorn.backlog:0:0:3|h|#app:web",
        "_sc|gunicorn.is_running|0|#app:web",
    ]


def test_a_prefix_is_put_before_metrics(receiver: StandInAgent, sending_to: Sending) -> None:
    """The prefix precedes the name, as in gunicorn's own statsd."""
    sending_to(receiver.url, prefix="my.app").push([POINT])
    assert received(receiver).strip() == f"my.app.{LINE}"


def test_every_source_of_tags_once(
    receiver: StandInAgent, sending_to: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag of both the client's environment and our settings is sent once."""
    monkeypatch.setenv("DATADOG_TAGS", "team:web,tier:1")
    monkeypatch.setenv("DD_ENV", "prod")
    monkeypatch.setenv("DD_ENTITY_ID", "pod-1")
    agent = sending_to(
        receiver.url, tags=("team:web",), inherited_tags=("env:staging", "team:web", "zone:a")
    )
    agent.push([POINT, Point("gunicorn.is_running", "service_check", (0,), ())])
    ours = "team:web,tier:1,dd.internal.entity_id:pod-1,env:prod,zone:a"
    assert received(receiver).splitlines() == [
        f"{LINE},{ours}",
        f"_sc|gunicorn.is_running|0|#{ours}",
    ]


@pytest.mark.parametrize(
    ("external", "sent"),
    [
        ("it-false,cn-web,pu-1234", "|e:it-false,cn-web,pu-1234"),
        ("it-false\nevil.metric:1|c", ""),
        ("it-false|#evil:tag", ""),
        ("it-false cn-web", ""),
        ("it-\udcff", ""),
        ("", ""),
    ],
)
def test_external_data_of_a_container(
    external: str,
    sent: str,
    receiver: StandInAgent,
    sending_to: Sending,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DD_EXTERNAL_ENV is sent with each line, unless its text would end a field or a line."""
    monkeypatch.delenv("DD_ORIGIN_DETECTION_ENABLED")
    monkeypatch.setenv("DD_EXTERNAL_ENV", external)
    sending_to(receiver.url).push([POINT])
    (line,) = received(receiver).splitlines()
    assert line.startswith(LINE)
    fields = line.removeprefix(LINE).split("|")[1:]
    assert [field for field in fields if not field.startswith("c:")] == sent.split("|")[1:]


def test_a_large_push_becomes_several_datagrams(
    receiver: StandInAgent, sending_to: Sending
) -> None:
    """No UDP datagram exceeds 1,432 bytes, and every line is whole."""
    agent = sending_to(receiver.url)
    agent.push([POINT] * 100)
    wait_for("all", lambda: sum(len(d.lines) for d in receiver.datagrams) == 100)
    assert len(receiver.datagrams) > 1
    assert all(len(datagram.octets) <= 1432 for datagram in receiver.datagrams)


def test_the_client_is_quiet_and_alone(
    receiver: StandInAgent, sending_to: Sending, caplog: pytest.LogCaptureFixture
) -> None:
    """The client starts no thread, sends no telemetry and logs nothing, with or without Agent."""
    threads = threading.active_count()
    with caplog.at_level(logging.WARNING):
        agent = sending_to(receiver.url)
        for _ in range(3):
            agent.push([POINT])
        wait_for("3 datagrams", lambda: len(receiver.datagrams) == 3)
        away = sending_to("unix:///nowhere")
        away.push([POINT])
    assert threading.active_count() == threads
    assert {datagram.octets for datagram in receiver.datagrams} == {f"{LINE}\n".encode()}
    assert caplog.records == []


def test_a_udp_agent_that_goes_and_comes_back(sending_to: Sending) -> None:
    """After a refusal ``error`` is set; when the Agent is back, each push arrives."""
    with StandInAgent() as receiver:
        agent = sending_to(receiver.url)
        assert error_of_push(agent) is None
    wait_for("an error", lambda: error_of_push(agent))
    assert agent.error == "ECONNREFUSED (Connection refused)"

    port = int(receiver.url.rpartition(":")[2])
    with StandInAgent(Address("udp", "127.0.0.1", port)) as again:
        agent.push([POINT])
        wait_for("the very next push", lambda: again.datagrams)
        assert error_of_push(agent) is None
        wait_for("the next datagram", lambda: len(again.datagrams) == 2)


def test_an_agent_at_either_address_of_localhost(sending_to: Sending) -> None:
    """Each push arrives, including the first one after the Agent moved to the other address."""
    port = free_port(socket.SOCK_DGRAM, "::")
    agent = sending_to(f"udp://localhost:{port}")
    for host in ("::1", "127.0.0.1", "::1"):
        with StandInAgent(Address("udp", host, port)) as receiver:
            for number in range(3):
                assert error_of_push(agent) is None
                wait_for("a push", lambda: len(receiver.datagrams) > number)  # noqa: B023 # called here
            assert len(receiver.datagrams) == 3


def test_no_agent_at_any_address_of_localhost(sending_to: Sending) -> None:
    """``error`` is that of 127.0.0.1; an Agent that starts receives the next push."""
    port = free_port(socket.SOCK_DGRAM, "::")
    agent = sending_to(f"udp://localhost:{port}")
    for _ in range(3):
        assert error_of_push(agent) == "ECONNREFUSED (Connection refused)"
    with StandInAgent(Address("udp", "::1", port)) as receiver:
        assert error_of_push(agent) is None
        received(receiver)


def test_localhost_without_ipv4() -> None:
    """A push arrives over a loopback interface that has ::1 only."""
    with network() as net:
        done = net.run(sys.executable, "-c", WITHOUT_IPV4)
    assert done == f"None {LINE}\n", done


def test_long_tags(receiver: StandInAgent, sending_to: Sending) -> None:
    """Long tags of two-byte characters fill no UDP datagram beyond the Agent's 8,192 bytes."""
    tags = tuple(f"k{number}:" + "\u00e9" * 187 for number in range(21))
    agent = sending_to(receiver.url, tags=tags)
    samples = Point("gunicorn.backlog", "histogram", (10_000,) * 100, ("app:web",))
    too_long = Point("gunicorn.workers", "gauge", (2,), ("state:" + "x" * 194,) * 2)
    agent.push([samples, too_long, POINT])
    wait_for("the last", lambda: any(b"workers" in d.octets for d in receiver.datagrams))
    assert agent.left_out == 1
    assert max(len(datagram.octets) for datagram in receiver.datagrams) <= 8192
    lines = [line for datagram in receiver.datagrams for line in datagram.lines]
    assert sum(len(line.values) for line in lines if line.name == "gunicorn.backlog") == 100
    assert all(line.tags >= set(tags) for line in lines)


@pytest.mark.parametrize("scheme", ["unixgram", "unixstream"])
def test_a_push_is_counted_in_bytes(scheme: str, tmp_path: Path, sending_to: Sending) -> None:
    """Two-byte characters fill no Unix datagram and no stream message beyond 8,192 bytes."""
    with StandInAgent(Address(scheme, path=str(tmp_path / "agent"))) as receiver:
        agent = sending_to(receiver.url, tags=("k:" + "\u00e9" * 190,))
        agent.push([POINT] * 100)
        wait_for("all", lambda: sum(len(d.lines) for d in receiver.datagrams) == 100)
    assert len(receiver.datagrams) > 1
    assert max(len(datagram.octets) for datagram in receiver.datagrams) <= 8192


@pytest.mark.parametrize("scheme", ["unixgram", "unixstream", "unix"])
def test_a_unix_agent_that_goes_and_comes_back(
    scheme: str, tmp_path: Path, sending_to: Sending
) -> None:
    """Each push to a listening Agent arrives, before and after the Agent was away."""
    kind = "unixstream" if scheme == "unixstream" else "unixgram"
    address = Address(kind, path=str(tmp_path / "agent"))
    agent = sending_to(f"{scheme}://{address.path}")
    assert error_of_push(agent) == "ENOENT (No such file or directory)"
    for _ in range(2):
        with StandInAgent(address) as receiver:
            assert error_of_push(agent) is None
            received(receiver)
        wait_for("an error", lambda: error_of_push(agent))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_agent_that_does_not_read(
    kind: socket.SocketKind, tmp_path: Path, sending_to: Sending
) -> None:
    """A push to a full queue is dropped at once, and ``error`` names the queue."""
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX, kind) as deaf:
        deaf.bind(path)
        if kind == socket.SOCK_STREAM:
            deaf.listen()
        agent = sending_to(f"unix://{path}")
        wait_for("the queue to be full", lambda: error_of_push(agent, [POINT] * 1000))
        assert agent.error == QUEUE_FULL
        agent.push([POINT])


def test_a_new_connection_after_a_truncated_message(tmp_path: Path, sending_to: Sending) -> None:
    """A truncated message is never continued: a new connection begins with a length."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        listener.settimeout(20)
        agent = sending_to(f"unixstream://{tmp_path}/agent")
        wait_for("a truncated message", lambda: error_of_push(agent, [POINT] * 10_000))
        wait_for("a new connection", lambda: error_of_push(agent) is None)
        first, second = listener.accept()[0], listener.accept()[0]
        with first, second:
            agent.close()
            assert len(b"".join(iter(lambda: first.recv(65536), b""))) > 100_000
            framed = b"".join(iter(lambda: second.recv(65536), b""))
            assert framed == (len(LINE) + 1).to_bytes(4, "little") + LINE.encode() + b"\n"


def test_a_name_that_moves(
    receiver: StandInAgent, sending_to: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points go to the name's new address. Mocked: no real name can be moved here."""
    port = int(receiver.url.rpartition(":")[2])
    answers = [("127.0.0.2", port)]
    monkeypatch.setattr(
        agent_socket, "resolve", lambda _: agent_socket.Target(socket.AF_INET, answers[-1])
    )
    monkeypatch.setattr(resolver, "RETRY_S", 0.05)
    agent = sending_to(f"udp://agent.example:{port}")
    wait_for("a refusal", lambda: "ECONNREFUSED" in (error_of_push(agent) or ""))
    assert receiver.datagrams == []

    answers.append(("127.0.0.1", port))
    wait_for("a push to the new address", lambda: error_of_push(agent) is None)
    assert received(receiver).strip() == LINE


def test_a_name_that_does_not_resolve(sending_to: Sending) -> None:
    """``error`` is the resolver's error, and pushes are dropped."""
    agent = sending_to("udp://no-such-host.invalid:8125")
    wait_for("the resolver's error", lambda: "gaierror" in (error_of_push(agent) or ""))


def test_a_host_whose_own_address_is_gone(sending_to: Sending) -> None:
    """A UDP socket whose local address was removed is replaced."""
    with network() as net:
        done = net.run(sys.executable, "-c", MOVE)
    assert done.split("\n")[:3] == ["None", "ENETUNREACH (Network is unreachable)", "None"], done


def test_dd_dogstatsd_disable_sends_nothing(receiver: StandInAgent, sending_to: Sending) -> None:
    """DD_DOGSTATSD_DISABLE stops service checks, too, which the client alone would send."""
    settings = Settings()._replace(address=parse(receiver.url))
    agent = AgentClient(settings, {"DD_DOGSTATSD_DISABLE": "true"})
    agent.push([Point("gunicorn.is_running", "service_check", (0,), ())])
    sending_to(receiver.url).push([POINT])
    assert received(receiver).strip() == LINE
    assert len(receiver.datagrams) == 1
