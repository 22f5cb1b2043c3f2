"""so_meminfo: a real listener that drops, and malformed bytes."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.kernel.so_meminfo import decode, read
from tests.lab.waiting import wait_for


def test_a_full_listener_drops() -> None:
    """A queue with limit 1 holds two connections; further attempts are counted."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener, ExitStack() as clients:
        assert read(listener) == 0
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        wait_for("drops", lambda: read(listener) >= 2)


def test_a_unix_socket_has_none() -> None:
    """A Unix socket's counter stays 0: it is not a count of drops."""
    with socket.socket(socket.AF_UNIX) as sock:
        assert read(sock) == 0


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(octets: bytes) -> None:
    """36 bytes or more yield the ninth number; fewer raise QueueError."""
    if len(octets) < 36:
        with pytest.raises(QueueError, match=f"SO_MEMINFO is {len(octets)} bytes long, 36 needed"):
            decode(octets)
    else:
        assert decode(octets).to_bytes(4, "little") == octets[32:36]
