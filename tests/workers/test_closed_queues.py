"""The queue of a worker's sockets at their close, with Python's and gevent's sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gunicorn_backlog.scoreboard.detail_row import SocketState
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import LEAVING
from gunicorn_backlog.workers.closed_queues import record_closed_queues


@dataclass
class Wrapper:
    """gunicorn's socket: a wrapper of Python's."""

    sock: Any


@dataclass
class Worker:
    """A worker with these sockets."""

    sockets: list[Any]
    ran: list[None] = field(default_factory=list)

    def run(self) -> None:
        """Do nothing."""
        self.ran.append(None)


def plain() -> socket.socket:
    """Return a listener of Python."""
    return socket.create_server(("127.0.0.1", 0))


def geventlike() -> Any:
    """Return a listener of gevent."""
    return import_module("gevent.socket").socket(fileno=plain().detach())


def at_close(scoreboard: Scoreboard, number: int = 0) -> int | None:
    """Return the recorded length of a socket's queue."""
    ((_, detail),) = scoreboard.reader.details()
    state = detail.sockets[number]
    assert state is not None
    return state.length


def leaving(scoreboard: Scoreboard) -> int:
    """Return whether the worker accepts no more connections, as in its slot."""
    ((slot, _),) = scoreboard.reader.details()
    return slot.leaving


@pytest.mark.parametrize("opened", [plain, geventlike])
@pytest.mark.parametrize("close", ["close", "detach"])
def test_the_queue_at_the_close(opened: Callable[[], Any], close: str) -> None:
    """Open: none. Closed or given away: its connections; a later end changes nothing."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    sock = opened()
    address, inode = sock.getsockname(), os.fstat(sock.fileno()).st_ino
    worker = Worker([Wrapper(sock) if opened is plain else sock])
    record_closed_queues(worker, scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0))
    ((_, detail),) = scoreboard.reader.details()
    assert detail.sockets[0] == SocketState(inode, None)
    clients = [socket.create_connection(address) for _ in range(3)]
    accepted, _ = sock.accept()
    given = getattr(sock, close)()
    assert sock.fileno() == -1
    assert at_close(scoreboard) == 2
    # A server may give its socket to another object, and accept there.
    assert leaving(scoreboard) == (LEAVING if close == "close" else 0)
    worker.run()
    assert leaving(scoreboard) == LEAVING
    assert worker.ran == [None]
    assert at_close(scoreboard) == 2
    for each in (*clients, accepted):
        each.close()
    if given is not None:
        os.close(given)


@dataclass
class ASGIWorker(Worker):
    """gunicorn's asgi worker, with uvloop if this is installed."""

    clients: list[socket.socket] = field(default_factory=list)

    def run(self) -> None:
        """Serve, and shut down when three connections are in the queue."""
        try:
            loop = import_module("uvloop").new_event_loop()
        except ImportError:
            loop = asyncio.new_event_loop()
        loop.run_until_complete(self._serve(loop))
        loop.close()

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        sock = self.sockets[0].sock
        self.server = await loop.create_server(asyncio.Protocol, sock=sock)
        address = sock.getsockname()
        self.clients += [socket.create_connection(address) for _ in range(3)]
        assert await self._shutdown("now") == "now"

    async def _shutdown(self, how: str) -> str:
        self.server.close()
        return how


def test_an_asgi_worker_with_uvloop() -> None:
    """uvloop closes the descriptor before it calls the socket: the worker's end records."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    worker = ASGIWorker([Wrapper(plain())])
    record_closed_queues(worker, scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0))
    worker.run()
    assert at_close(scoreboard) == 3
    assert leaving(scoreboard) == LEAVING
    for client in worker.clients:
        client.close()


def test_another_file_at_the_descriptor() -> None:
    """After a close without the socket's methods its number may be that of another socket."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    with plain() as sock, plain() as other:
        worker = Worker([Wrapper(sock)])
        record_closed_queues(worker, scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0))
        os.dup2(other.fileno(), sock.fileno())
        worker.run()
        assert at_close(scoreboard) is None


def test_sockets_that_are_left_open(tmp_path: Path) -> None:
    """When ``run`` ends the queue is recorded, TCP and Unix; a closed socket is left out."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    path = str(tmp_path / "socket")
    with plain() as tcp, socket.socket(socket.AF_UNIX) as unix, plain() as closed:
        unix.bind(path)
        unix.listen()
        closed.close()
        worker = Worker([Wrapper(tcp), Wrapper(unix), Wrapper(closed)])
        record_closed_queues(worker, scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1))
        with socket.create_connection(tcp.getsockname()), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            worker.run()
            assert (at_close(scoreboard, 0), at_close(scoreboard, 1)) == (1, 1)
    ((_, detail),) = scoreboard.reader.details()
    assert detail.sockets[2] is None
