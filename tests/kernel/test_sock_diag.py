"""sock_diag: the real kernel, step by step, and malformed answers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.kernel import netlink, sock_diag
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.kernel.sock_diag import (
    decode_inet,
    decode_unix,
    inet_listeners,
    inet_request,
    unix_queue,
)
from tests.lab.waiting import wait_for

LIMIT = 5


def inode(sock: socket.socket) -> int:
    """Return the socket's inode."""
    return os.fstat(sock.fileno()).st_ino


def test_a_unix_socket(tmp_path: Path) -> None:
    """Listen: 0; connect: 1; accept: 0; the limit is that of listen()."""
    path = str(tmp_path / "lab.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen(LIMIT)
        assert unix_queue(inode(listener)) == AcceptQueue(0, LIMIT)
        client.connect(path)
        assert unix_queue(inode(listener)) == AcceptQueue(1, LIMIT)
        listener.accept()[0].close()
        assert unix_queue(inode(listener)) == AcceptQueue(0, LIMIT)


def test_no_such_unix_socket() -> None:
    """The kernel's ENOENT is raised."""
    with pytest.raises(FileNotFoundError):
        unix_queue(1)


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_tcp_sockets_of_a_port(family: socket.AddressFamily, host: str) -> None:
    """Only the sockets that listen at the port are returned, each with its queue."""
    with (
        socket.create_server((host, 0), family=family, backlog=LIMIT) as listener,
        socket.create_server((host, 0), family=family) as _other,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        port = listener.getsockname()[1]
        wait_for("1 waiting", lambda: inet_listeners(family, port)[0].queue.length == 1)
        (found,) = inet_listeners(family, port)
        assert found == (host, port, inode(listener), AcceptQueue(1, LIMIT), 0)


def test_many_sockets_come_in_several_datagrams() -> None:
    """An answer of several datagrams lacks no socket."""
    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as first:
        address = first.getsockname()
        try:
            for _ in range(500):
                sock = socket.socket()
                sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(address)
                sock.listen(LIMIT)
            found = inet_listeners(socket.AF_INET, address[1])
            assert {sock.inode for sock in found} == {inode(sock) for sock in [first, *sockets]}
        finally:
            for sock in sockets:
                sock.close()


def test_without_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AF_NETLINK, as on another system, OSError is raised; mocked."""
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(OSError, match="there is no netlink"):
        sock_diag.unix_queue(1)


@pytest.mark.parametrize("answers", [[], [bytes(16)]])
def test_an_empty_answer_is_the_domain_error(
    answers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message, and one without the attribute, raise QueueError; mocked."""
    monkeypatch.setattr(sock_diag, "ask", lambda *_: answers)
    with pytest.raises(QueueError, match=r"without a message|no UNIX_DIAG_RQLEN"):
        unix_queue(1)


def test_an_unfit_answer_is_the_domain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no message raise QueueError; the netlink socket is mocked."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernel:
        kernel.send(b"nonsense")
        monkeypatch.setattr(sock_diag, "open_socket", lambda _: ours)
        with pytest.raises(QueueError, match="8 bytes are no netlink header"):
            unix_queue(1)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(octets: bytes) -> None:
    """Any bytes are decoded, or raise QueueError."""
    for decode in (decode_unix, decode_inet):
        try:
            decode(octets)
        except QueueError:
            continue


@pytest.fixture(scope="module")
def answer() -> bytes:
    """Return the kernel's answer for one listener."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=LIMIT) as listener,
        netlink.open_socket(sock_diag.NETLINK_SOCK_DIAG) as transport,
    ):
        request = inet_request(socket.AF_INET, listener.getsockname()[1])
        kind, flags = sock_diag.SOCK_DIAG_BY_FAMILY, netlink.NLM_F_DUMP
        (answer,) = netlink.ask(transport, kind, flags, request)
        return answer


@given(st.integers(min_value=0, max_value=71))
def test_a_cut_answer_is_refused(answer: bytes, length: int) -> None:
    """A real answer that is cut in its fixed part raises QueueError."""
    assert decode_inet(answer).queue == AcceptQueue(0, LIMIT)
    with pytest.raises(QueueError):
        decode_inet(answer[:length])


@given(st.binary(max_size=20))
def test_an_answer_with_junk_behind(answer: bytes, junk: bytes) -> None:
    """Junk that looks like unknown attributes is ignored; other junk raises QueueError."""
    try:
        assert decode_inet(answer + junk).queue == AcceptQueue(0, LIMIT)
    except QueueError:
        assert junk
