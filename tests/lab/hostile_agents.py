"""Agents that fail in various ways, each as a destination of a server's metrics."""

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

MANY = 200  # listeners, whose lines fill many datagrams
HOSTS = ("127.0.0.2", "127.0.0.3")
CHANGES_S = 0.5

AWAY = "does not accept metrics"
SLOW = "does not read as fast"


@dataclass(frozen=True)
class Place:
    """A destination of metrics, and what a server needs for it.

    ``line``: part of our only line in the log; empty: no line. ``run_by``: a command that runs the
    server. ``arguments`` and ``environ``: the server's.
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
    """A UDP port without a receiver."""
    yield Place(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}")


@contextmanager
def missing(folder: Path) -> Iterator[Place]:
    """A path that does not exist."""
    yield Place(f"unix://{folder}/nowhere")


@contextmanager
def killed(folder: Path) -> Iterator[Place]:
    """The path of a socket whose owner has exited."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{folder}/killed")
    yield Place(f"unix://{folder}/killed")


@contextmanager
def deaf_to_datagrams(folder: Path) -> Iterator[Place]:
    """A datagram socket that is never read: its queue fills up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{folder}/deaf")
        yield Place(f"unixgram://{folder}/deaf", SLOW)


@contextmanager
def deaf_to_streams(folder: Path) -> Iterator[Place]:
    """A listener that never accepts: a connection's buffer fills up, then the accept queue."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{folder}/deaf")
        sock.listen(0)
        yield Place(f"unixstream://{folder}/deaf", SLOW, arguments=more_listeners(60))


@contextmanager
def nameless(folder: Path) -> Iterator[Place]:
    """A name that does not resolve."""
    yield Place(f"udp://{NAME}:8125", run_by=Names(folder).run_by)


@contextmanager
def behind_a_silent_name_server(folder: Path) -> Iterator[Place]:
    """A name whose look-up hangs."""
    with silent_name_server() as name_server:
        yield Place(f"udp://{NAME}:8125", run_by=Names(folder, name_server.host).run_by)


@contextmanager
def with_many_listeners(address: Address) -> Iterator[Place]:
    """A reading Agent; each push takes many datagrams."""
    with StandInAgent(address) as agent:
        yield Place(agent.url, line="", arguments=more_listeners(MANY - 1), environ={})


@contextmanager
def changing(change: Callable[[int], None]) -> Iterator[None]:
    """Call ``change`` in a thread every CHANGES_S seconds, with the number of calls."""
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
    """An Agent that stops and starts again, repeatedly."""
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
    """An Agent that moves to another address with its name, repeatedly."""
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
