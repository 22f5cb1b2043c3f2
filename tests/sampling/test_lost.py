"""Lost connections, with real sockets: counted once, when the kernel lists a socket no more."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gunicorn_backlog.kernel import sock_diag
from gunicorn_backlog.sampling.lost import Lost, UnreadableSocketsError
from gunicorn_backlog.scoreboard.detail_row import SocketState
from gunicorn_backlog.scoreboard.server_info import ListenerRef

HOST = "127.0.0.1"


def inode_of(sock: socket.socket) -> int:
    """Return a socket's inode."""
    return os.fstat(sock.fileno()).st_ino


def ref_of(sock: socket.socket) -> ListenerRef:
    """Return the reference to a listener."""
    port = sock.getsockname()[1]
    return ListenerRef(f"{HOST}:{port}", socket.AF_INET, host=HOST, port=port)


def listening(port: int = 0) -> socket.socket:
    """Return a listener that shares its port."""
    return socket.create_server((HOST, port), reuse_port=True)


def test_a_socket_counts_once_when_it_is_gone() -> None:
    """0 while it exists, here or elsewhere; then what was recorded last, once."""
    lost = Lost(migrates=lambda: False)
    sock = listening()
    ref, inode = ref_of(sock), inode_of(sock)
    lost.sample(ref, {inode: 3})
    closed = [SocketState(inode, 7, 16_380), SocketState(inode, 5, 2)]  # 5 is later
    assert lost.take({inode}, closed) == {ref.listener: 0}
    assert lost.take((), closed) == {ref.listener: 0}
    assert lost.take((), closed, others_end=False) == {ref.listener: None}
    sock.close()
    assert lost.take((), closed) == {ref.listener: 5}
    lost.note_untracked([tuple(closed)], [(HOST, ref.port)])
    assert lost.take((), closed) == {}


def test_without_a_record_the_latest_sample_counts() -> None:
    """As for a worker that was killed; and for a socket that only the push saw, its own queue."""
    lost = Lost(migrates=lambda: False)
    with listening() as sock:
        ref, inode = ref_of(sock), inode_of(sock)
        lost.note_untracked([(None, SocketState(inode, None))], ["/path", (HOST, ref.port)])
        clients = [socket.create_connection((HOST, ref.port)) for _ in range(2)]
        assert lost.take((), []) == {ref.listener: 0}
    assert lost.take((), []) == {ref.listener: 2}
    for client in clients:
        client.close()


def test_sockets_of_another_server() -> None:
    """With reuse_port all sockets at the address are sampled; only those of our workers count."""
    lost = Lost(migrates=lambda: False)
    first = listening()
    ref = ref_of(first)
    socks = [first, *(listening(ref.port) for _ in range(3))]
    other, killed, closed, held = inodes = [inode_of(sock) for sock in socks]
    lost.sample(ref, {inode: 10**number for number, inode in enumerate(inodes)}, own=False)
    assert lost.take({held}, [SocketState(killed, None)]) == {ref.listener: 0}
    lost.sample(ref, {inode: 10**number for number, inode in enumerate(inodes)}, own=False)
    for sock in socks:
        sock.close()
    assert other not in lost._own
    assert lost.take((), [SocketState(closed, 200)]) == {ref.listener: 10 + 200 + 1000}
    assert lost.take((), []) == {}
    assert lost._own == set()


def test_sockets_of_another_server_do_not_end_with_ours() -> None:
    """After the last push only a socket of our workers may still be reset."""
    lost = Lost(migrates=lambda: False)
    with listening() as sock:
        ref, inode = ref_of(sock), inode_of(sock)
        lost.sample(ref, {inode: 3}, own=False)
        assert lost.take((), [], others_end=False) == {ref.listener: 0}
        ours = [SocketState(inode, None)]
        assert lost.take((), ours, others_end=False) == {ref.listener: None}
        assert lost.take((), ours, others_end=True) == {ref.listener: 0}


@pytest.mark.parametrize("moves", [False, True])
def test_the_socket_of_a_killed_worker(moves: bool) -> None:
    """Its latest queue is lost once it is gone; None while a process still has the socket."""
    lost = Lost(migrates=lambda: moves)
    with listening() as sock, listening() as other:
        ref, inode, theirs = ref_of(sock), inode_of(sock), ref_of(other)
        lost.sample(ref, {inode: 0})
        lost.sample(theirs, {inode_of(other): 1}, own=False)
        clients = [socket.create_connection((HOST, ref.port)) for _ in range(2)]
        at_kill = lost.wait_for_killed((), [])
        assert at_kill == {inode: 2}
        found = lost.take((), [], others_end=False, at_kill=at_kill)
        assert found == {ref.listener: None, theirs.listener: 0}
        for client in clients:
            client.close()
        sock.close()
        assert lost.wait_for_killed((), []) == {}
        found = lost.take((), [], others_end=False, at_kill=at_kill)
        assert found == {ref.listener: 2, theirs.listener: 0}


def test_sockets_whose_connections_move() -> None:
    """With tcp_migrate_req: 0 if another socket listens, the last one's own, None if unclear."""
    lost = Lost(migrates=lambda: True)
    first = listening()
    ref = ref_of(first)
    others = [listening(ref.port) for _ in range(3)]
    socks = [first, *others]
    inodes = [inode_of(sock) for sock in socks]
    lost.sample(ref, dict.fromkeys(inodes, 4))
    first.close()
    assert lost.take((), []) == {ref.listener: 0}
    for sock in others[:2]:
        sock.close()
    assert lost.take((), []) == {ref.listener: 0}
    others[2].close()
    assert lost.take((), [SocketState(inodes[3], 4)]) == {ref.listener: 4}

    pair = [listening(), listening(0)]
    lost.sample(ref_of(pair[0]), {inode_of(pair[0]): 4, inode_of(pair[1]): 5})
    for sock in pair:
        sock.close()
    assert list(lost.take((), []).values()) == [None]


def test_a_unix_socket(tmp_path: Path) -> None:
    """It is gone when no process has it."""
    lost = Lost()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        inode = inode_of(sock)
        lost.sample(ListenerRef("path", int(socket.AF_UNIX), inode), {inode: 2})
        assert lost.take((), []) == {"path": 0}
    assert lost.take((), []) == {"path": 2}


def test_without_netlink_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is an error, and the socket counts later; patched, since no sandbox is at hand."""
    lost = Lost(migrates=lambda: False)
    with listening() as sock:
        ref = ref_of(sock)
        lost.sample(ref, {inode_of(sock): 1})

    def refuse(*_: object) -> None:
        raise PermissionError(1, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(sock_diag, "inet_listeners", refuse)
        with pytest.raises(UnreadableSocketsError):
            lost.take((), [])
    assert lost.take((), []) == {ref.listener: 1}
