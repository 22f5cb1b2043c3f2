"""tcp_info: a real listener, step by step, and malformed bytes."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.kernel.tcp_info import decode, read
from tests.lab.last_data import last_data_recv_ms
from tests.lab.waiting import wait_for

LISTEN_LIMIT = 5


def test_the_queue_grows_and_shrinks() -> None:
    """Listen: 0; connect: 1; connect: 2; accept: 1; the limit is that of listen()."""
    with socket.create_server(("127.0.0.1", 0), backlog=LISTEN_LIMIT) as listener:
        assert read(listener) == AcceptQueue(0, LISTEN_LIMIT)
        with socket.create_connection(listener.getsockname()):
            wait_for("1 waiting", lambda: read(listener).length == 1)
            with socket.create_connection(listener.getsockname()):
                wait_for("2 waiting", lambda: read(listener).length == 2)
                listener.accept()[0].close()
                assert read(listener) == AcceptQueue(1, LISTEN_LIMIT)


def test_the_limit_follows_a_later_listen() -> None:
    """After a second listen() the new limit is read at once."""
    with socket.create_server(("127.0.0.1", 0), backlog=LISTEN_LIMIT) as listener:
        listener.listen(LISTEN_LIMIT + 1)
        assert read(listener).limit == LISTEN_LIMIT + 1


def test_ipv6() -> None:
    """An IPv6 socket has the same struct."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=LISTEN_LIMIT) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        wait_for("1 waiting", lambda: read(listener) == AcceptQueue(1, LISTEN_LIMIT))


def test_a_connected_socket_has_no_accept_queue() -> None:
    """A connected socket raises QueueError: its fields have other meanings."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        pytest.raises(QueueError, match="TCP state is 1, not 10"),
    ):
        read(client)


def test_a_unix_socket_has_no_tcp_info() -> None:
    """The kernel's EOPNOTSUPP is raised."""
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="Errno 95"):
        read(sock)


class Picky:
    """A socket that refuses short lengths, as in gVisor; this kernel accepts all."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes:
        """Refuse a length below the struct's size."""
        if buflen < 200:
            raise OSError(22, "Invalid argument")
        return self._sock.getsockopt(level, option, buflen)


def test_a_kernel_that_gives_all_or_nothing() -> None:
    """The whole struct is requested."""
    with socket.create_server(("127.0.0.1", 0), backlog=LISTEN_LIMIT) as listener:
        assert read(Picky(listener)) == AcceptQueue(0, LISTEN_LIMIT)


@given(st.binary(max_size=300) | st.binary(min_size=31, max_size=300).map(b"\n".__add__))
def test_any_bytes_are_decoded_or_refused(octets: bytes) -> None:
    """Any bytes are decoded, or raise QueueError."""
    try:
        queue = decode(octets)
    except QueueError:
        assert len(octets) < 32 or octets[0] != 10
    else:
        assert queue == AcceptQueue(*struct.unpack_from("=II", octets, 24))


def test_how_long_ago_the_last_bytes_came() -> None:
    """The time grows until bytes arrive; a closed or a Unix socket yields None."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"a")
            sent_s = time.monotonic()
            wait_for("0.2 s to pass", lambda: (last_data_recv_ms(accepted) or 0) >= 200)
            assert time.monotonic() - sent_s > 0.19
            client.sendall(b"b")
            wait_for("the bytes", lambda: (last_data_recv_ms(accepted) or 0) < 200)
        assert last_data_recv_ms(accepted) is None
    with socket.socket(socket.AF_UNIX) as unix:
        assert last_data_recv_ms(unix) is None
