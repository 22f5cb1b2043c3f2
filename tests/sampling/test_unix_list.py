"""unix_list: a Unix listener's queue without netlink, and its limits."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from gunicorn_backlog.kernel import proc_net
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.sampling.unix_list import _TRIES, COSTLY_NS, UnixList
from tests.lab.sandbox import network
from tests.lab.ss import ss_unix

CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    print("connected", flush=True)
    sys.stdin.read()
"""


def stopped() -> int:
    """Return a constant time: by this clock no read is costly, even on a loaded machine."""
    return 0


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a path to listen at."""
    return str(tmp_path / "app.sock")


@pytest.fixture
def listener(path: str) -> Iterator[socket.socket]:
    """Return a listening socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(5)
        yield sock


def test_step_by_step(listener: socket.socket, path: str) -> None:
    """Listen: 0; connect: 1; connect: 2; accept: 1; there is no limit."""
    reader = UnixList(listener, clock_ns=stopped)
    with ExitStack() as clients:
        assert reader.queue() == AcceptQueue(0, None)
        for waiting in (1, 2):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
            assert reader.queue() == AcceptQueue(waiting, None)
        listener.accept()[0].close()
        assert reader.queue() == AcceptQueue(1, None)


@pytest.mark.parametrize("costly", [True, False])
def test_a_costly_list_is_read_once_per_interval(listener: socket.socket, costly: bool) -> None:
    """A read of more than 1 ms is not repeated in the interval; shorter ones are."""
    clock = count(step=COSTLY_NS + costly)
    reader = UnixList(listener, clock_ns=lambda: next(clock))
    for _ in range(2):
        reader.begin_interval()
        assert reader.queue() == AcceptQueue(0, None)
        assert reader.queue() == (None if costly else AcceptQueue(0, None))


def test_many_sockets_are_costly(listener: socket.socket) -> None:
    """With thousands of Unix sockets a read is costly by the real clock."""
    reader = UnixList(listener)
    with ExitStack() as stack:
        for _ in range(1500):
            for sock in socket.socketpair():
                stack.enter_context(sock)
        assert reader.queue() == AcceptQueue(0, None)
        assert reader.queue() is None
        reader.begin_interval()
        assert reader.queue() == AcceptQueue(0, None)


def test_a_list_that_is_too_long(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list longer than the bound raises QueueError; the bound is patched."""
    monkeypatch.setattr(proc_net, "LONGEST", 40)
    reader = UnixList(listener)
    with pytest.raises(QueueError, match="longer than 40 bytes"):
        reader.queue()


@contextmanager
def connected(path: str, *run_by: str) -> Iterator[None]:
    """Connect a client in a process of its own."""
    command = [*run_by, sys.executable, "-c", CONNECT, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"connected\n"
        yield


def test_a_client_in_another_network_namespace(listener: socket.socket, path: str) -> None:
    """Once a connection of another namespace waits, the queue is not read any more."""
    reader = UnixList(listener, clock_ns=stopped)
    with network() as net:
        with connected(path):
            assert reader.queue() == AcceptQueue(1, None)
        listener.accept()[0].close()
        with connected(path, *net.inside()):
            assert [listed.recv_q for listed in ss_unix(path)] == [1]
            assert [reader.queue() for _ in range(_TRIES - 1)] == [None] * (_TRIES - 1)
            with pytest.raises(QueueError, match="another network namespace"):
                reader.queue()
    listener.accept()[0].close()
    with pytest.raises(QueueError, match="another network namespace"):
        reader.queue()


def test_a_closed_socket(path: str) -> None:
    """A closed socket raises EBADF, as with the other readers."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(5)
        reader = UnixList(sock)
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.queue()


def test_one_call_reads_the_list_once(
    listener: socket.socket, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doubtful read is not repeated in the same call, which a fork may wait for."""
    lengths = iter([0, 0, 1])
    monkeypatch.setattr(proc_net, "unix_length", lambda *_, **__: next(lengths))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        reader = UnixList(listener, clock_ns=stopped)
        assert [reader.queue() for _ in range(3)] == [None, None, AcceptQueue(1, None)]


def test_a_connection_that_comes_meanwhile(
    listener: socket.socket, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that arrives between two steps proves nothing: the series of reads restarts."""
    doubtful = [0] * (_TRIES - 1)
    lengths = iter([*doubtful, 1, *doubtful, 0])
    monkeypatch.setattr(proc_net, "unix_length", lambda *_, **__: next(lengths))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        reader = UnixList(listener, clock_ns=stopped)
        found = [reader.queue() for _ in range(2 * _TRIES - 1)]
        assert found == [*[None] * len(doubtful), AcceptQueue(1, None), *[None] * len(doubtful)]
        with pytest.raises(QueueError, match="another network namespace"):
            reader.queue()
