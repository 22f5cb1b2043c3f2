"""listeners: the queues of gunicorn's listeners by each reader, and the log line if all fail."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gunicorn_backlog.config.tags import listener_tag
from gunicorn_backlog.kernel import so_meminfo, sock_diag, tcp_info
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.listeners import Listeners
from gunicorn_backlog.scoreboard.detail_row import DetailState, SocketState
from gunicorn_backlog.scoreboard.slot import SlotRecord
from tests.lab.fake_arbiter import Arbiter, Cfg, Listener, Worker
from tests.lab.waiting import wait_for

LIMIT = 5
Opened = socket.socket


@pytest.fixture
def listening() -> Iterator[Opened]:
    """Return a listening TCP socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=LIMIT) as sock:
        yield sock


def read(*sockets: Any, cfg: Cfg | None = None) -> dict[str, AcceptQueue]:
    """Read these listeners once."""
    return of(*sockets, cfg=cfg).read()


def of(*sockets: Any, cfg: Cfg | None = None) -> Listeners:
    """Return the listeners of an arbiter that holds these sockets."""
    arbiter = Arbiter([Listener(sock) for sock in sockets], cfg=cfg or Cfg())
    return Listeners(arbiter, OnceLogger(logging.getLogger("lab")))


def name(sock: Opened) -> str:
    """Return the socket's tag."""
    return listener_tag(sock.getsockname())


def test_each_listener_by_its_address(listening: Opened) -> None:
    """Two listeners have two queues; a connection counts at its own."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=6) as other,
        socket.create_connection(other.getsockname()[:2]),
    ):
        expected = {name(listening): AcceptQueue(0, LIMIT), name(other): AcceptQueue(1, 6)}
        wait_for("1 waiting", lambda: read(listening, other) == expected)


@pytest.mark.parametrize("abstract", [False, True])
def test_unix_sockets_step_by_step(abstract: bool, tmp_path: Path) -> None:
    """Listen: 0; connect: 1; connect: 2; accept: 1."""
    path = f"\0lab-{os.getpid()}" if abstract else str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as sock, ExitStack() as clients:
        sock.bind(path)
        sock.listen(LIMIT)
        listeners = of(sock)
        tag = f"abstract:lab-{os.getpid()}" if abstract else path
        assert listeners.read() == {tag: AcceptQueue(0, LIMIT)}
        for waiting in (1, 2):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
            assert listeners.read() == {tag: AcceptQueue(waiting, LIMIT)}
        sock.accept()[0].close()
        assert listeners.read() == {tag: AcceptQueue(1, LIMIT)}
        assert listeners.dropped() == {}


def test_a_closed_listener_is_not_there(listening: Opened) -> None:
    """A listener closed by a reload or a shutdown is absent, without a log line."""
    listeners = of(None, listening)
    assert len(listeners.read()) == 1
    tag = name(listening)
    listening.close()
    assert listeners.read() == {}
    assert listeners.dropped() == {tag: 0}
    listeners._arbiter.LISTENERS = []
    assert listeners.dropped() == {tag: 0}
    assert listeners.dropped() == {}


def test_a_new_socket_at_the_same_address_starts_anew() -> None:
    """A new socket has a new counter: the former drops are neither subtracted nor repeated."""
    server = Arbiter([])
    listeners = Listeners(server, OnceLogger(logging.getLogger("lab")))
    address = ("127.0.0.1", 0)
    for _ in range(3):
        with socket.create_server(address, backlog=1) as sock, ExitStack() as clients:
            address = sock.getsockname()
            server.LISTENERS = [Listener(sock)]
            assert listeners.dropped() == {name(sock): 0}
            for _ in range(5):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(address)
            wait_for("drops", lambda: so_meminfo.read(sock) >= 3)
            before = so_meminfo.read(sock)
            assert before <= listeners.dropped()[name(sock)] <= so_meminfo.read(sock)


def test_queues_of_an_address_that_workers_share() -> None:
    """With reuse_port an address has the sums of lengths and limits, and the longest queue."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0), reuse_port=True))
        address = first.getsockname()
        shared = [first]
        for _ in range(2):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
            shared.append(sock)
        for sock in shared:
            sock.listen(LIMIT)
        other = stack.enter_context(socket.socket())
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.2", address[1]))
        other.listen(LIMIT)
        for _ in range(7):
            stack.enter_context(socket.create_connection(address))

        listeners = of(cfg=Cfg(reuse_port=True, address=[address]))
        own = [tcp_info.read(sock).length for sock in shared]
        assert sum(own) == 7
        expected = AcceptQueue(7, 3 * LIMIT, max_length=max(own), min_limit=LIMIT)
        assert listeners.read() == {listener_tag(address): expected}
        assert listeners.dropped() == {listener_tag(address): 0}


def test_an_address_where_no_worker_listens_yet_is_not_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before the first worker is up the address is absent, and nothing is logged."""
    assert read(cfg=Cfg(reuse_port=True, address=[("127.0.0.1", 1)])) == {}
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (("agent.example", 1), "'agent.example' is a name"),
        ("/run/app.sock", "each worker has a socket of its own"),
        (3, "the backlog of fd://3 can't be read"),
    ],
)
def test_what_can_not_be_read_with_reuse_port_is_logged(
    address: tuple[str, int] | str | int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A name, a path and a descriptor can't be read with reuse_port; one line has the reason."""
    server = Arbiter([], cfg=Cfg(reuse_port=True, address=[address]))
    listeners = Listeners(server, OnceLogger(logging.getLogger("lab")))
    for _ in range(3):
        assert listeners.read() == {}
    (message,) = caplog.messages
    assert why in message


def test_sockets_of_one_address_are_summed_up() -> None:
    """Several sockets of one address, as from systemd, are summed up."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0), reuse_port=True))
        second = stack.enter_context(socket.socket())
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(first.getsockname())
        for sock in (first, second):
            sock.listen(LIMIT)
        for _ in range(6):
            stack.enter_context(socket.create_connection(first.getsockname()))
        own = [tcp_info.read(sock).length for sock in (first, second)]
        expected = AcceptQueue(6, 2 * LIMIT, max_length=max(own), min_limit=LIMIT)
        assert read(first, second) == {name(first): expected}


def test_drops_of_a_socket_that_is_closed_are_not_lost() -> None:
    """Drops that were read while the queue was full are reported after the socket is closed."""
    server = Arbiter([])
    listeners = Listeners(server, OnceLogger(logging.getLogger("lab")))
    with socket.create_server(("127.0.0.1", 0), backlog=1) as sock, ExitStack() as clients:
        server.LISTENERS = [Listener(sock)]
        assert listeners.read() == {name(sock): AcceptQueue(0, 1)}
        for _ in range(6):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
        wait_for("drops", lambda: so_meminfo.read(sock) >= 4)
        assert listeners.read() == {name(sock): AcceptQueue(2, 1)}
        tag, least = name(sock), so_meminfo.read(sock)
    server.LISTENERS = []
    assert listeners.read() == {}
    assert 4 <= listeners.dropped()[tag] <= least
    assert listeners.dropped() == {}


class Refused(socket.socket):
    """A socket that refuses options, as under seccomp; tests/servers use a real filter."""

    def getsockopt(self, *_: Any) -> Any:
        """Refuse."""
        raise PermissionError(1, "Operation not permitted")


def test_inet_diag_reads_where_tcp_info_is_refused(
    listening: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """inet_diag reads the same numbers, drops included; nothing is logged."""
    with Refused(fileno=os.dup(listening.fileno())) as sock:
        listeners = of(sock)
        with socket.create_connection(sock.getsockname()):
            expected = {name(sock): AcceptQueue(1, LIMIT)}
            wait_for("1 waiting", lambda: listeners.read() == expected)
        assert listeners.dropped() == {name(sock): 0}
    assert caplog.records == []


class Moody(socket.socket):
    """A socket that refuses SO_MEMINFO at times."""

    refuses = False

    def getsockopt(self, *option: Any) -> Any:
        """Refuse, or read."""
        if self.refuses and option[:2] == (socket.SOL_SOCKET, so_meminfo.SO_MEMINFO):
            raise PermissionError(1, "Operation not permitted")
        return super().getsockopt(*option)


@pytest.mark.parametrize("refused_in", [{0}, {1}, {1, 3}, {0, 2, 3}, {0, 1, 2, 3, 4}])
def test_drops_count_once_by_whichever_reader(refused_in: set[int]) -> None:
    """SO_MEMINFO refused at the start, once, at times, always: the sum is the kernel's."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as made, ExitStack() as clients:
        sock = clients.enter_context(Moody(fileno=os.dup(made.fileno())))
        sock.refuses = 0 in refused_in
        listeners = of(sock)
        counted = listeners.dropped()[name(made)]
        for interval in range(1, 5):
            before = so_meminfo.read(made)
            for _ in range(3 * interval):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(made.getsockname())
            wait_for("drops", lambda least=before: so_meminfo.read(made) > least)  # type: ignore[misc]  # the default binds it
            sock.refuses = interval in refused_in
            counted += listeners.dropped()[name(made)]
        least = so_meminfo.read(made)
        counted += listeners.dropped()[name(made)]
        assert least <= counted <= so_meminfo.read(made)


def test_if_all_readers_fail_one_line_is_logged(
    listening: Opened, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the listener and each reader's errno; there is no number; mocked."""

    def refuse(_: int) -> None:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(sock_diag, "open_socket", refuse)
    with Refused(fileno=os.dup(listening.fileno())) as sock:
        listeners = of(sock, listening)
        for _ in range(3):
            assert listeners.read() == {name(listening): AcceptQueue(0, LIMIT)}
    assert [record.getMessage() for record in caplog.records] == [
        f"gunicorn_backlog: the backlog of {name(listening)} can't be read (TCP_INFO: EPERM "
        "(Operation not permitted); inet_diag: EPROTONOSUPPORT (Protocol not supported)): "
        "not sent, all other metrics are"
    ]


def test_not_linux(
    listening: Opened, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another system the options' numbers differ: nothing is read."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert read(listening) == {}
    assert "this is not Linux" in caplog.text


def test_a_malformed_answer_is_logged(
    listening: Opened, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short struct and a malformed netlink answer are in the log line."""

    def nonsense(*_: object) -> None:
        raise QueueError("3 bytes")

    monkeypatch.setattr(sock_diag, "inet_listeners", nonsense)
    monkeypatch.setattr(tcp_info, "read", lambda _: tcp_info.decode(b"abc"))
    assert read(listening) == {}
    assert "TCP_INFO: TCP_INFO is 3 bytes long, 32 needed; inet_diag: 3 bytes" in caplog.text


Row = tuple[SlotRecord, DetailState]


def row(age: int, *states: SocketState) -> Row:
    """Return the slot and the detail row of a worker with these sockets, whose pid is its age."""
    return SlotRecord(age, age, 0, 0, 1, 0, 0, 0, 0, 0, 0), DetailState(0, states)


def inode_of(sock: Opened) -> int:
    """Return a socket's inode."""
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize(("sampled", "expected"), [((1, 2), 9), ((2,), 5), ((), 5)])
def test_a_former_worker_does_not_count(
    listening: Opened, sampled: tuple[int, ...], expected: int
) -> None:
    """Times of closes repeat after 164 s: rows of workers gone before the sample are left out."""
    server = Arbiter([Listener(listening)], {2: Worker(2, 2)})
    listeners = Listeners(server, OnceLogger(logging.getLogger("lab")))
    listeners.read()
    tag, inode = name(listening), inode_of(listening)
    rows = [row(1, SocketState(inode, 9, 200)), row(2, SocketState(inode, 5, 100))]
    server.LISTENERS = []
    listening.close()
    assert listeners.count_lost([], lambda: rows, sampled) == {tag: expected}


def test_sockets_that_outlive_the_last_push() -> None:
    """With reuse_port, too, the resets of workers that are still there are not known."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as sock:
        address, inode = sock.getsockname(), inode_of(sock)
        cfg, workers = Cfg(reuse_port=True, address=[address]), {1: Worker(1, 1)}
        server = Arbiter([], workers, cfg=cfg)
        listeners = Listeners(server, OnceLogger(logging.getLogger("lab")))
        listeners.read()
        rows = [row(1, SocketState(inode, None))]
        tag = listener_tag(address)
        assert listeners.count_lost([], lambda: rows, [1]) == {tag: 0}
        assert listeners.count_lost([], lambda: rows, [1], stopping=True) == {}
        workers.clear()
        assert listeners.count_lost([], lambda: rows, [], stopping=True) == {tag: 0}


def test_another_server_at_the_address() -> None:
    """With reuse_port only sockets of the workers count; without shared memory none is known."""
    with ExitStack() as stack:
        own = stack.enter_context(socket.create_server(("127.0.0.1", 0), reuse_port=True))
        address = own.getsockname()
        other = stack.enter_context(socket.create_server(address, reuse_port=True))
        cfg, workers = Cfg(reuse_port=True, address=[address]), {1: Worker(1, 1)}
        listeners = Listeners(Arbiter([], workers, cfg=cfg), OnceLogger(logging.getLogger("lab")))
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(40)]
        listeners.read()
        queued = tcp_info.read(own).length
        assert 0 < queued < len(clients)
        rows = [row(1, SocketState(inode_of(own), None))]
        tag = listener_tag(address)
        other.close()
        assert listeners.count_lost([], lambda: rows, [1]) == {tag: 0}
        assert listeners.count_lost([], None, [1]) == {}
        own.close()
        assert listeners.count_lost([], lambda: rows, [1]) == {tag: queued}


def v6() -> Opened:
    """Return a listening socket of IPv6."""
    return socket.create_server(("::1", 0), family=socket.AF_INET6)


def test_bind_is_the_first_listener(listening: Opened) -> None:
    """``bind`` has the socket's real port, and stays during a shutdown and within a HUP."""
    with socket.create_server(("127.0.0.1", 0)) as other, v6() as new:
        server = Arbiter()
        listeners = Listeners(server, OnceLogger(logging.getLogger("lab")))
        listeners.read()
        assert listeners.bind == ""
        first = Listener(listening)
        server.LISTENERS = [first, Listener(other)]
        listeners.read()
        assert listeners.bind == name(listening)
        first.sock, server.cfg = None, Cfg()  # a HUP closes the first, then the second
        listeners.read()
        assert listeners.bind == name(listening)
        server.LISTENERS = [Listener(new), Listener(other)]
        listeners.read()
        assert listeners.bind == name(new)
        server.LISTENERS = []
        listeners.dropped()
        assert listeners.bind == name(new)


@pytest.mark.parametrize(
    ("addresses", "bind"),
    [
        ([("127.0.0.1", 8000), "/run/app.sock"], "127.0.0.1:8000"),
        ([("", 8000)], "0.0.0.0:8000"),
        ([("::0", 8000)], ":::8000"),
        ([("localhost", 8000)], "127.0.0.1:8000"),
        ([("agent.example", 8000)], "agent.example:8000"),
        (["/run/app.sock", ("127.0.0.1", 8000)], "/run/app.sock"),
        (["\0app"], "abstract:app"),
        ([("127.0.0.1", 0)], "127.0.0.1:0"),
        ([9999], "fd://9999"),
        ([], ""),
    ],
)
def test_bind_with_reuse_port(addresses: list[tuple[str, int] | str | int], bind: str) -> None:
    """With reuse_port ``bind`` is the first configured address, written like a socket's."""
    listeners = of(cfg=Cfg(reuse_port=True, address=addresses))
    listeners.read()
    assert listeners.bind == bind


def test_bind_with_reuse_port_by_sockets(listening: Opened, tmp_path: Path) -> None:
    """``bind`` is the address of an inherited or a held socket, which stays open."""
    fd = listening.fileno()
    inherited = of(cfg=Cfg(reuse_port=True, address=["/run/app.sock", fd]))
    held = of(listening, cfg=Cfg(reuse_port=True, address=[("127.0.0.1", 0)]))
    for listeners in (inherited, held):
        listeners.read()
        assert listeners.bind == name(listening)
    assert listening.getsockname()

    server = Arbiter([Listener(listening)], cfg=Cfg(reuse_port=True, address=[fd]))
    closing = Listeners(server, OnceLogger(logging.getLogger("lab")))
    closing.read()
    with socket.socket(socket.AF_UNIX) as sock:  # the descriptor may belong to another file by now
        sock.bind(str(tmp_path / "other.sock"))
        server.LISTENERS, server.cfg = [], Cfg(reuse_port=True, address=[sock.fileno()])
        closing.dropped()
    assert closing.bind == name(listening)
