"""Agents that are not as they should be: each is a place that a server's metrics are sent to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.lab.dns import NAME, Names, silent_name_server
from tests.lab.ports import free_port

MANY = 200  # listeners: far more than a datagram's worth of lines
HOSTS = ("127.0.0.2", "127.0.0.3")
CHANGES_S = 0.5

AWAY = "does not take metrics"
SLOW = "does not read as fast"


@dataclass(frozen=True)
class Place:
    """Where the metrics are sent to.

    :param line: what our only line in the log says of it; empty: there is none.
    :param run_by: the command to run the server by.
    """

    url: str
    line: str = AWAY
    run_by: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=lambda: {"GUNICORN_BACKLOG_INTERVAL": "0.1"})


def more_listeners(count: int) -> tuple[str, ...]:
    """Return arguments that add listeners, each at a free port."""
    return ("--bind", "127.0.0.1:0") * count


@contextmanager
def refused(folder: Path) -> Iterator[Place]:
    """Nobody is at the UDP port."""
    yield Place(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}")


@contextmanager
def missing(folder: Path) -> Iterator[Place]:
    """There is no such path."""
    yield Place(f"unix://{folder}/nowhere")


@contextmanager
def killed(folder: Path) -> Iterator[Place]:
    """The path is that of a socket whose owner is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{folder}/killed")
    yield Place(f"unix://{folder}/killed")


@contextmanager
def deaf_to_datagrams(folder: Path) -> Iterator[Place]:
    """It never reads: soon its queue is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{folder}/deaf")
        yield Place(f"unixgram://{folder}/deaf", SLOW)


@contextmanager
def deaf_to_streams(folder: Path) -> Iterator[Place]:
    """It never accepts: soon a connection's buffer is full, and then its accept queue."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{folder}/deaf")
        sock.listen(0)
        yield Place(f"unixstream://{folder}/deaf", SLOW, arguments=more_listeners(60))


@contextmanager
def nameless(folder: Path) -> Iterator[Place]:
    """Its name does not resolve."""
    yield Place(f"udp://{NAME}:8125", run_by=Names(folder).run_by)


@contextmanager
def behind_a_silent_name_server(folder: Path) -> Iterator[Place]:
    """The look-up of its name hangs."""
    with silent_name_server() as name_server:
        yield Place(f"udp://{NAME}:8125", run_by=Names(folder, name_server.host).run_by)


@contextmanager
def with_many_listeners(address: Address) -> Iterator[Place]:
    """It reads, but a push is many datagrams."""
    with StandInAgent(address) as agent:
        yield Place(agent.url, line="", arguments=more_listeners(MANY - 1), environ={})


@contextmanager
def changing(change: Callable[[int], None]) -> Iterator[None]:
    """Change something in a thread, again and again; it is told how often it did."""
    over = threading.Event()

    def run() -> None:
        times = 0
        while not over.wait(CHANGES_S):
            times += 1
            change(times)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def coming_and_going(folder: Path) -> Iterator[Place]:
    """It dies and is started again, all the time."""
    address = Address("udp", "127.0.0.1", free_port(socket.SOCK_DGRAM))
    with ExitStack() as life:

        def change(times: int) -> None:
            if times % 2:
                life.enter_context(StandInAgent(address))
            else:
                life.close()

        with changing(change):
            yield Place(str(address))


@contextmanager
def moving(folder: Path) -> Iterator[Place]:
    """It moves to another address all the time, and its name goes with it."""
    names = Names(folder)
    port = free_port(socket.SOCK_DGRAM, HOSTS[0])
    with ExitStack() as life:

        def move(times: int) -> None:
            host = HOSTS[times % 2]
            life.close()
            life.enter_context(StandInAgent(Address("udp", host, port)))
            names.lead_to(host)

        move(0)
        with changing(move):
            yield Place(f"udp://{NAME}:{port}", run_by=names.run_by)


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "UDP refused": refused,
    "Unix path missing": missing,
    "Unix socket of one that was killed": killed,
    "datagrams not read": deaf_to_datagrams,
    "stream not read": deaf_to_streams,
    "name does not resolve": nameless,
    "look-up hangs": behind_a_silent_name_server,
    "many UDP datagrams": lambda _: with_many_listeners(Address("udp", "127.0.0.1", 0)),
    "many Unix datagrams": lambda folder: with_many_listeners(
        Address("unixgram", path=f"{folder}/agent")
    ),
}
RESTLESS: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "comes and goes": coming_and_going,
    "moves again and again": moving,
}
