"""Connections that are lost because their listening socket is closed, against clients' resets."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import AgentFactory, ServerFactory
from tests.lab import queued_clients
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.procfs import has_own_handlers
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.sandbox import Network, network
from tests.lab.server import Server
from tests.lab.short_interval import SHORT_CONFIG
from tests.lab.waiting import wait_for

LOST = "gunicorn.backlog.lost"
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.05", "GUNICORN_BACKLOG_SAMPLES": "3"}
PASSED_ON_S = 0.2  # the kernel does not show that a worker has handled a signal
CLIENTS, QUEUED = 30, 20
APP, ASGI = "tests.lab.exits_app:app", "tests.lab.exits_app:asgi_app"
CLASSES = [
    ("sync", APP),
    ("gthread", APP),
    ("asgi", ASGI),
    ("uvicorn_worker.UvicornWorker", ASGI),
    ("gevent", APP),
    ("tornado", APP),
]
PROGRAM = str(Path(queued_clients.__file__))


def environ_for(agent: StandInAgent) -> dict[str, str]:
    """Return the settings of the servers."""
    return {"GUNICORN_BACKLOG_URL": agent.url} | INTERVAL


def lost(agent: StandInAgent) -> Counter[str]:
    """Return the lost connections of all pushes so far, by listener."""
    found: Counter[str] = Counter()
    for push in pushes(agent):
        for line in push.all(LOST):
            found[line.tag("listener") or ""] += int(line.values[0])
    return +found


def queued(server: Server, agent: StandInAgent, clients: int) -> list[socket.socket]:
    """Return connections that wait in the accept queue behind one that is held."""
    server.hold(1)
    wait_for("it to work", lambda: next_pushes(agent, 1)[0].workers["working"] == 1)
    connected = queued_clients.connect(server.port, clients)
    wait_for("all", lambda: next_pushes(agent, 1)[0].values("gunicorn.backlog")[-1] == clients)
    return connected


def let_go_later(server: Server) -> None:
    """Release the held request when its worker has got the arbiter's signal."""
    time.sleep(PASSED_ON_S)
    server.let_go()


def reload_and_let_go(server: Server, config: str | None = None) -> None:
    """Reload, and release the held request when the former worker is to leave."""
    former = server.worker_pids()
    server.reload(config)
    (new,) = wait_for("a new worker", lambda: server.worker_pids() - former)
    wait_for("it to boot", lambda: has_own_handlers(new))
    let_go_later(server)


@pytest.mark.parametrize(("worker_class", "app"), CLASSES)
def test_recycled_workers_with_reuse_port(
    worker_class: str, app: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker that reaches max_requests takes its queue along: as many as clients were reset."""
    server = serve(
        newest,
        config=SHORT_CONFIG,
        app=app,
        arguments=("--worker-class", worker_class, "--reuse-port", "--max-requests", "5"),
        environ=environ_for(agent),
    ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    found = queued_clients.outcomes(queued_clients.connect(server.port, CLIENTS))
    next_pushes(agent, 3)
    wait_for("the recycled ones to be gone", lambda: next_pushes(agent, 1)[0].workers["idle"] == 2)
    counted = lost(agent)[server.address]
    print(f"{worker_class}: {dict(found)}, lost {counted}")
    assert abs(counted - found["reset"]) <= 2
    assert found.total() == CLIENTS


def test_recycled_workers_that_share_a_socket(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Without reuse_port a worker's end loses nothing: 0, and no client is reset."""
    server = serve(
        newest,
        config=SHORT_CONFIG,
        app=APP,
        arguments=("--max-requests", "5"),
        environ=environ_for(agent),
    ).wait_until_it_serves()
    found = queued_clients.outcomes(queued_clients.connect(server.port, CLIENTS))
    assert found == {"answered": CLIENTS}
    assert {push.values(LOST) for push in next_pushes(agent, 3)} == {(0,)}
    assert lost(agent) == {}


def test_a_killed_worker_with_reuse_port(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker that is killed counts the queue of the latest sample."""
    server = serve(
        newest,
        workers=1,
        config=SHORT_CONFIG,
        arguments=("--reuse-port",),
        environ=environ_for(agent),
    ).wait_until_it_serves()
    connected = queued(server, agent, QUEUED)
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    assert queued_clients.outcomes(connected) == {"reset": QUEUED}
    wait_for("the push", lambda: lost(agent))
    next_pushes(agent, 2)
    assert lost(agent) == {server.address: QUEUED}
    server.abandon()


@pytest.mark.parametrize("arguments", [(), ("--reuse-port",)])
def test_a_shutdown_with_a_queue(
    arguments: tuple[str, ...], gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The last push has the connections that a SIGTERM left in the queue."""
    server = serve(
        gunicorn,
        workers=1,
        config=SHORT_CONFIG,
        arguments=arguments,
        environ=environ_for(agent),
    ).wait_until_it_serves()
    connected = queued(server, agent, QUEUED)
    server.signal(signal.SIGTERM)
    wait_for("the arbiter to handle it", lambda: "Handling signal: term" in server.log)
    let_go_later(server)
    assert queued_clients.outcomes(connected) == {"reset": QUEUED}
    server.process.wait(timeout=40)
    wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))
    print(f"{gunicorn.version} {arguments}: {lost(agent)} {pushes(agent)[-1].all(LOST)}")
    assert lost(agent) == {server.address: QUEUED}


@pytest.mark.parametrize("arguments", [(), ("--reuse-port",)])
def test_a_shutdown_that_kills_the_worker(
    arguments: tuple[str, ...], gunicorn: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """A worker that does not leave within the graceful timeout is killed, with its queue.

    On a busy machine the worker may still exist at the last push: then the number is absent.
    """

    def shut_down() -> bool:
        agent = listen()
        server = serve(
            gunicorn,
            workers=1,
            config=SHORT_CONFIG,
            arguments=("--graceful-timeout", "1", *arguments),
            environ=environ_for(agent),
        ).wait_until_it_serves()
        connected = queued(server, agent, QUEUED)
        server.signal(signal.SIGTERM)
        assert queued_clients.outcomes(connected) == {"reset": QUEUED}
        server.process.wait(timeout=40)
        wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))
        is_known = bool(pushes(agent)[-1].all(LOST))
        assert lost(agent) == ({server.address: QUEUED} if is_known else {})
        return is_known

    wait_for("a known number", shut_down)


def test_a_reload_that_changes_bind(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A HUP on the same socket loses nothing; with another bind the old socket's queue is lost."""
    port, other = free_port(), free_port()
    config = SHORT_CONFIG + "bind = '127.0.0.1:{port}'\n"
    server = serve(
        gunicorn,
        workers=1,
        bind=(),
        config=config.format(port=port),
        environ=environ_for(agent),
    )
    server.port, server.address = port, f"127.0.0.1:{port}"
    server.wait_until_it_serves()
    connected = queued(server, agent, QUEUED)
    reload_and_let_go(server)
    assert queued_clients.outcomes(connected) == {"answered": QUEUED}
    wait_until_all_are_idle(agent, 1)
    assert lost(agent) == {}

    connected = queued(server, agent, QUEUED)
    reload_and_let_go(server, config.format(port=other))
    assert queued_clients.outcomes(connected) == {"reset": QUEUED}
    wait_for("the push", lambda: lost(agent))
    next_pushes(agent, 2)
    assert lost(agent) == {server.address: QUEUED}


def test_an_upgrade(gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """The old master of a USR2 upgrade leaves its socket to the new one: both report 0."""
    server = serve(gunicorn, workers=1, config=SHORT_CONFIG, environ=environ_for(agent))
    server.wait_until_it_serves()
    old = server.worker_pids()
    connected = queued(server, agent, QUEUED)
    server.signal(signal.SIGUSR2)
    (new_master,) = wait_for("the new master", lambda: server.worker_pids() - old)
    wait_for("its workers", lambda: queued_clients.outcomes(connected) == {"answered": QUEUED})
    server.let_go()
    server.signal(signal.SIGTERM)
    server.process.wait(timeout=40)
    assert lost(agent) == {}
    os.kill(new_master, signal.SIGTERM)


@pytest.fixture
def net() -> Iterator[Network]:
    """Return a network in which sockets that listen take over from closed ones."""
    with network() as made:
        try:
            made.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_migrate_req")
        except OSError as error:
            pytest.skip(f"no tcp_migrate_req: {error}")
        yield made


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_connections_that_migrate(
    worker_class: str,
    newest: Gunicorn,
    serve: ServerFactory,
    listen: AgentFactory,
    net: Network,
    tmp_path: Path,
) -> None:
    """With tcp_migrate_req a recycled worker's connections are answered by another: 0."""
    agent = listen(Address("unixgram", path=str(tmp_path / "agent")))
    server = serve(
        newest,
        config=SHORT_CONFIG,
        app=APP,
        run_by=net.inside(),
        arguments=(
            *("--worker-class", worker_class, "--reuse-port"),
            *("--max-requests", "5", "--max-requests-jitter", "30"),
        ),
        environ=environ_for(agent),
    )
    wait_until_all_are_idle(agent)
    assert all(map(has_own_handlers, server.worker_pids()))
    found = json.loads(net.run(sys.executable, PROGRAM, str(server.port), str(CLIENTS)))
    next_pushes(agent, 3)
    print(f"{worker_class}: {found}, lost {lost(agent)}")
    assert lost(agent)[server.address] == found.get("reset", 0)
