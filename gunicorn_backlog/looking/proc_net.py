"""``/proc/PID/net/tcp``: what is seen of another network namespace without a privilege.

A line a socket (``Documentation/networking/proc_net_tcp.rst``; ``tcp6`` is alike), in columns:

======  =====================  ==================================================================
column  field                  meaning
======  =====================  ==================================================================
3       st                     the state; 0A is TCP_LISTEN
4       tx_queue:rx_queue      in hexadecimal; of a listening socket ``rx_queue`` is the length of
                               its accept queue; the limit stands nowhere
9       inode                  the socket's
======  =====================  ==================================================================
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from gunicorn_backlog.accept_queue import QueueError
from gunicorn_backlog.looking.processes import PROC

_LISTEN = "0A"
_FILES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp6"}


class Listening(NamedTuple):
    """A listening TCP socket: its inode, and how many connections wait."""

    inode: int
    length: int


def parse(text: str) -> list[Listening]:
    """Return the listening sockets of the file. Raises QueueError."""
    try:
        rows = [line.split() for line in text.splitlines()[1:]]
        return [
            Listening(int(row[9]), int(row[4].partition(":")[2], 16))
            for row in rows
            if row[3] == _LISTEN
        ]
    except (ValueError, IndexError):
        raise QueueError("the kernel's list of TCP sockets is not as it should be") from None


def listening(pid: int, family: int) -> list[Listening]:
    """Return the listening sockets in a process's network namespace.

    Raises OSError and QueueError.
    """
    name = _FILES[socket.AddressFamily(family)]
    return parse((PROC / str(pid) / "net" / name).read_text())
