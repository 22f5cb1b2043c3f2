"""Which accept queues the server has, and what is in each of them."""

from __future__ import annotations

import errno
import socket
from typing import Any, NamedTuple

from gunicorn_backlog import tcp_info
from gunicorn_backlog.arbiter import Arbiter
from gunicorn_backlog.tcp_info import TcpInfoError


class Backlog(NamedTuple):
    """One listener's accept queue: ``waiting`` of at most ``limit`` (+ 1) connections."""

    listener: str
    waiting: int
    limit: int


class Unreadable(NamedTuple):
    """A listener whose accept queue can't be read, and why."""

    listener: str
    reason: str


def read(arbiter: Arbiter) -> list[Backlog | Unreadable]:
    """Read the accept queues of all listeners that the arbiter holds open now."""
    found = (_read(listener.sock) for listener in list(arbiter.LISTENERS))
    return [reading for reading in found if reading is not None]


def _read(sock: Any) -> Backlog | Unreadable | None:
    """Read one listener; None if the arbiter has closed it, as in a reload or a shutdown."""
    if sock is None or sock.fileno() == -1:
        return None
    name = _name(sock.getsockname())
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return Unreadable(name, "it is not a TCP socket")
    try:
        return Backlog(name, *tcp_info.read(sock))
    except OSError as error:
        return Unreadable(name, f"{errno.errorcode.get(error.errno or 0)} ({error.strerror})")
    except TcpInfoError as error:
        return Unreadable(name, str(error))


def _name(address: Any) -> str:
    """Return the address of a listener as its tag: ``127.0.0.1:8000``, ``/run/app.sock``."""
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return address.decode(errors="replace") if isinstance(address, bytes) else str(address)
