"""listeners: what is read of gunicorn's own listener objects."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gunicorn_backlog.listeners import Backlog, Unreadable, read
from tests.lab.arbiter import Arbiter, Listener
from tests.lab.waiting import wait_for


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Return a listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=5) as sock:
        yield sock


def test_each_listener_by_its_address(listening: socket.socket) -> None:
    """Two listeners, two queues; a connection counts at the one it was made to."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=6) as other:
        server = Arbiter([Listener(listening), Listener(other)])
        port, other_port = listening.getsockname()[1], other.getsockname()[1]
        with socket.create_connection(("::1", other_port)):
            expected = [Backlog(f"127.0.0.1:{port}", 0, 5), Backlog(f"::1:{other_port}", 1, 6)]
            wait_for("1 waiting", lambda: read(server) == expected)


def test_a_closed_listener_is_not_there(listening: socket.socket) -> None:
    """gunicorn closes its listeners in a reload and a shutdown: that is no failure to read."""
    server = Arbiter([Listener(None), Listener(listening)])
    listening.close()
    assert read(server) == []


def test_what_is_no_tcp_socket_says_so(tmp_path: Path) -> None:
    """A Unix socket's queue is not in TCP_INFO."""
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        assert read(Arbiter([Listener(sock)])) == [Unreadable(path, "it is not a TCP socket")]


def test_a_refusal_is_told_with_its_errno(listening: socket.socket) -> None:
    """As where a seccomp filter refuses the option; mocked, for a filter can't be taken off."""

    class Refused(socket.socket):
        def getsockopt(self, *_: Any) -> Any:
            raise PermissionError(1, "Operation not permitted")

    with Refused(fileno=listening.detach()) as sock:
        (reading,) = read(Arbiter([Listener(sock)]))
    assert isinstance(reading, Unreadable)
    assert reading.reason == "EPERM (Operation not permitted)"


def test_a_socket_that_does_not_listen_is_told() -> None:
    """The decoder's reason comes through."""
    with socket.socket() as sock:
        (reading,) = read(Arbiter([Listener(sock)]))
    assert isinstance(reading, Unreadable)
    assert "TCP state is 7" in reading.reason
