"""Drops of listeners, and limits that change, in a network namespace of the test."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import ALL_VERSIONS, NEWEST_BY_DAY
from tests.lab.ports import free_port
from tests.lab.procfs import children
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.sandbox import Network, network, require
from tests.lab.server import CONFIG, Server
from tests.lab.ss import ss_port
from tests.lab.waiting import wait_for

SOMAXCONN = 3
PORTS = (8001, 8002)
RETRANSMITTED_S = 1.5  # clients repeat their SYN after 1 s: these attempts count, too
DROPPED_S = 0.0  # the kernel drops a connection before connect() returns
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "4"}
CONNECT = """
import socket, sys, time
port, number, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
clients = [socket.socket() for _ in range(number)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
time.sleep(seconds)
"""
LISTEN = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as carrier, socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    socket.send_fds(carrier, [b"."], [listener.fileno()])
"""


@pytest.fixture
def net() -> Iterator[Network]:
    """Return a network whose somaxconn is small."""
    with network() as made:
        made.set_somaxconn(SOMAXCONN)
        yield made


@pytest.fixture
def unix_agent(tmp_path: Path, listen: AgentFactory) -> StandInAgent:
    """Return an Agent that can be reached from any network namespace."""
    return listen(Address("unixgram", path=str(tmp_path / "agent")))


def dropped(agent: StandInAgent, port: int) -> float:
    """Return the sum of the pushed drops of the listener at that port."""
    tag = f"listener:127.0.0.1:{port}"
    lines = [line for push in pushes(agent) for line in push.all("gunicorn.backlog.dropped", tag)]
    return sum(line.values[0] for line in lines)


@NEWEST_BY_DAY
def test_a_clamped_backlog_is_logged_once_and_drops_are_those_of_the_kernel(
    gunicorn: Gunicorn, serve: ServerFactory, net: Network, unix_agent: StandInAgent
) -> None:
    """One log line per listener: ``backlog``, the enforced limit, and the setting to raise.

    The sum of all listeners' drops is nstat's, and each drop counts at its own listener.
    """
    server = two_listeners(gunicorn, serve, net, unix_agent)
    wait_until_all_are_idle(unix_agent)
    for push in next_pushes(unix_agent, 3):
        for port in PORTS:
            limit = push.values("gunicorn.backlog.limit", f"listener:127.0.0.1:{port}")
            assert limit == (SOMAXCONN,)
    wait_for("the lines", lambda: server.log.count("the kernel enforces") == len(PORTS))
    check_drops(server, net, unix_agent)
    lines = [line for line in server.our_lines if "the kernel enforces" in line]
    assert len(lines) == len(PORTS)
    clamped = "is set to 2048, the kernel enforces 3: net.core.somaxconn clamps the limit"
    assert all(clamped in line for line in lines)


def test_drops_with_reuse_port_are_those_of_the_kernel(
    newest: Gunicorn, serve: ServerFactory, net: Network, unix_agent: StandInAgent
) -> None:
    """The drops of the workers' sockets add up for each listener."""
    server = two_listeners(newest, serve, net, unix_agent, "--reuse-port")
    wait_until_all_are_idle(unix_agent)
    check_drops(server, net, unix_agent)


def two_listeners(
    gunicorn: Gunicorn,
    serve: ServerFactory,
    net: Network,
    unix_agent: StandInAgent,
    *arguments: str,
) -> Server:
    """Start a server at both ports in the network."""
    return serve(
        gunicorn,
        run_by=net.inside(),
        bind=tuple(f"127.0.0.1:{port}" for port in PORTS),
        arguments=("--timeout", "0", *arguments),
        environ={"GUNICORN_BACKLOG_URL": unix_agent.url} | INTERVAL,
    )


def check_drops(server: Server, net: Network, unix_agent: StandInAgent) -> None:
    """Fill one listener after the other: the drops are nstat's, and only of the full one."""
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGSTOP)
    earlier = 0.0
    for (full, other), seconds in ((PORTS, RETRANSMITTED_S), (PORTS[::-1], DROPPED_S)):
        before = dropped(unix_agent, other)
        net.run(sys.executable, "-c", CONNECT, str(full), "30", str(seconds))
        next_pushes(unix_agent, 2)
        assert dropped(unix_agent, other) == before
        assert dropped(unix_agent, full) >= 30 - 2 * (SOMAXCONN + 1)
        total = sum(dropped(unix_agent, port) for port in PORTS)
        assert total == net.listen_drops() > earlier
        earlier = total


def test_drops_count_once_where_so_meminfo_is_refused_at_times(
    newest: Gunicorn, serve: ServerFactory, net: Network, unix_agent: StandInAgent
) -> None:
    """If each third getsockopt fails, netlink reads the same counter, and nothing counts twice."""
    require("strace", "-V")
    inject = "inject=getsockopt:error=EPERM:when=3+3"
    server = serve(
        newest,
        run_by=net.inside(
            *("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getsockopt", "-e", inject)
        ),
        bind=(f"127.0.0.1:{PORTS[0]}",),
        arguments=("--timeout", "0"),
        environ={"GUNICORN_BACKLOG_URL": unix_agent.url} | INTERVAL,
    )
    wait_until_all_are_idle(unix_agent)
    (arbiter,) = server.worker_pids()
    for pid in children(arbiter):
        os.kill(pid, signal.SIGSTOP)
    for _ in range(3):
        net.run(sys.executable, "-c", CONNECT, str(PORTS[0]), "30", str(DROPPED_S))
        next_pushes(unix_agent, 2)
        assert dropped(unix_agent, PORTS[0]) == net.listen_drops() > 0


@pytest.mark.parametrize("reuse_port", [False, True])
def test_drops_within_one_interval_up_to_the_end_are_not_lost(
    reuse_port: bool, newest: Gunicorn, serve: ServerFactory, net: Network, unix_agent: StandInAgent
) -> None:
    """The last push has all drops of a server that ends within its first interval."""
    server = serve(
        newest,
        run_by=net.inside(),
        bind=(f"127.0.0.1:{PORTS[0]}",),
        arguments=("--timeout", "0", *(["--reuse-port"] if reuse_port else [])),
        environ={"GUNICORN_BACKLOG_URL": unix_agent.url, "GUNICORN_BACKLOG_INTERVAL": "30"}
        | {"GUNICORN_BACKLOG_SAMPLES": "100"},
    )
    pids = wait_for("both workers", server.both_worker_pids)
    wait_for("both workers", lambda: server.log.count("Booting worker") == 2)
    net.run("sh", "-c", f"until ss -Hltn | grep -q :{PORTS[0]}; do sleep 0.05; done; sleep 1")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    net.run(sys.executable, "-c", CONNECT, str(PORTS[0]), "30", "1.5")
    before = net.listen_drops()
    for pid in pids:
        os.kill(pid, signal.SIGKILL if reuse_port else signal.SIGCONT)
    server.process.terminate()
    server.process.wait(timeout=40)

    wait_for("the last push", lambda: unix_agent.datagrams)
    assert dropped(unix_agent, PORTS[0]) == before > 0


def test_an_asgi_worker_that_listens_again_is_logged_once(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """asyncio listens with 100, whatever ``backlog`` is: one line gives the limit and the cause."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url} | INTERVAL
    server = serve(
        newest, environ=environ, arguments=("--worker-class", "asgi"), app="tests.lab.asgi_app:app"
    )
    server.wait_until_it_serves()
    wait_for(
        "the limit", lambda: next_pushes(agent, 1)[0].values("gunicorn.backlog.limit") == (100,)
    )
    wait_for("the line", lambda: "the kernel enforces" in server.log)
    next_pushes(agent, 2)
    (line,) = [line for line in server.our_lines if "the kernel enforces" in line]
    assert "the kernel enforces 100: gunicorn's asgi worker makes asyncio call listen(100)" in line


@NEWEST_BY_DAY
def test_the_limit_follows_a_later_listen(
    gunicorn: Gunicorn, serve: ServerFactory, net: Network, agent: StandInAgent
) -> None:
    """After a raised somaxconn and another listen() the next interval has the new limit."""
    carrier, other = socket.socketpair()
    with carrier, other:
        os.set_inheritable(other.fileno(), True)
        command = net.inside(sys.executable, "-c", LISTEN, str(other.fileno()))
        os.spawnvp(os.P_WAIT, command[0], command)
        _, fds, _, _ = socket.recv_fds(carrier, 1, 1)
    with socket.socket(fileno=fds[0]) as listener:
        environ = {"GUNICORN_BACKLOG_URL": agent.url} | INTERVAL
        bind = (f"fd://{fds[0]}",)
        serve(gunicorn, environ=environ, bind=bind, pass_fds=(fds[0],))
        assert next_pushes(agent, 1)[0].values("gunicorn.backlog.limit") == (SOMAXCONN,)

        net.set_somaxconn(SOMAXCONN + 4)
        listener.listen(2048)
        (push,) = next_pushes(agent, 1)
        assert push.values("gunicorn.backlog.limit") == (SOMAXCONN + 4,)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_hup_that_changes_bind_with_reuse_port(
    version: str, installed: Callable[[str], Gunicorn], serve: ServerFactory, agent: StandInAgent
) -> None:
    """All sockets count: gunicorn 25 and later then holds one beside the workers'."""
    first, second = free_port(), free_port()
    config = f"{CONFIG}reuse_port = True\nbind = '127.0.0.1:{{port}}'\n"
    server = serve(
        installed(version),
        config=config.format(port=first),
        bind=(),
        environ={"GUNICORN_BACKLOG_URL": agent.url} | INTERVAL,
        arguments=("--timeout", "0"),
    )
    wait_for("the first", lambda: listeners(agent) == {f"127.0.0.1:{first}"})
    server.reload(config.format(port=second))
    wait_for("the second", lambda: listeners(agent) == {f"127.0.0.1:{second}"})
    for pid in wait_for("both workers", server.both_worker_pids):
        os.kill(pid, signal.SIGSTOP)
    with ExitStack() as clients:
        for _ in range(9):
            clients.enter_context(socket.create_connection(("127.0.0.1", second)))
        (push,) = next_pushes(agent, 1)
        kernel = ss_port(second)
    assert sum(queue.recv_q for queue in kernel) == 9
    assert set(push.values("gunicorn.backlog")) == {9}
    assert push.values("gunicorn.backlog.limit") == (sum(queue.send_q for queue in kernel),)


def listeners(agent: StandInAgent) -> set[str | None]:
    """Return the listeners of the latest push."""
    return {line.tag("listener") for line in next_pushes(agent, 1)[0].all("gunicorn.backlog")}
