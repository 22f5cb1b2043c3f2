"""``/proc/PID/net/tcp`` and ``unix``: lists of a network namespace's sockets, without a privilege.

``tcp`` and ``tcp6`` have one line per socket (``Documentation/networking/proc_net_tcp.rst``):

======  =====================  ==================================================================
column  field                  meaning
======  =====================  ==================================================================
3       st                     the state; 0A is TCP_LISTEN
4       tx_queue:rx_queue      in hexadecimal; ``rx_queue`` of a listening socket is the length of
                               its accept queue; the file has no limits
9       inode                  the socket's inode
======  =====================  ==================================================================

``unix`` has one line per socket, too (``unix_seq_show`` in ``net/unix/af_unix.c``):

======  =====================  ==================================================================
column  field                  meaning
======  =====================  ==================================================================
0       Num                    the kernel's address of the socket, hashed or zeros, and a colon
1       RefCount
2       Protocol
3       Flags                  00010000 (__SO_ACCEPTCON): a listening socket
4       Type
5       St                     02 (SS_CONNECTING): a connection that is not accepted yet
6       Inode                  the socket's inode; 0 until the connection is accepted
7       Path                   the path of the listening socket, in its connections' lines, too;
                               the rest of the line, which may have blanks and newlines; each NUL
                               of an abstract name is printed as @
======  =====================  ==================================================================

The line of a waiting connection has the path, but neither the listening socket nor a limit. The
connection is listed in the network namespace of its client.
"""

from __future__ import annotations

import re
import socket
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from gunicorn_backlog.kernel.accept_queue import ElsewhereError, QueueError

PROC = Path("/proc")
LONGEST = 1 << 18  # bytes of ``unix``: 4,000 sockets take 20 ms, and a fork waits up to 40 ms

_TCP_LISTEN = "0A"
_TCP_FILES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp6"}
_CHUNK = 1 << 16  # bytes; the kernel fills a page at most
_HEADER = b"Num "
_LISTENS = b"00010000"
_CONNECTING = b"02"
_NO_ADDRESS = b"0x"  # an address of these characters only: hidden by kernel.kptr_restrict
_UNIX_LINE = re.compile(
    rb"(?P<num>[0-9a-fx]+): [0-9A-F]+ [0-9A-F]+ (?P<flags>[0-9A-F]+) [0-9A-F]+ "
    rb"(?P<st>[0-9A-F]+) +(?P<inode>[0-9]+)(?: (?P<path>.*))?"
)


class Listening(NamedTuple):
    """A listening TCP socket: its inode, and the length of its accept queue in connections."""

    inode: int
    length: int


def decode_tcp(text: str) -> list[Listening]:
    """Return the listening sockets in the text of ``tcp``. Raises QueueError."""
    try:
        rows = [line.split() for line in text.splitlines()[1:]]
        return [
            Listening(int(row[9]), int(row[4].partition(":")[2], 16))
            for row in rows
            if row[3] == _TCP_LISTEN
        ]
    except (ValueError, IndexError):
        raise QueueError("the kernel's list of TCP sockets is malformed") from None


def count_waiting(octets: bytes, inode: int) -> int:
    """Return the length of the accept queue of the listening socket with that inode.

    Only the path identifies a connection's listener. Raises ElsewhereError if the socket is not
    listed. Raises QueueError for a malformed list, and for several listening sockets at the path.
    """
    if not octets.startswith(_HEADER):
        raise QueueError("the kernel's list of Unix sockets is malformed")
    lines = octets.split(b"\n")
    path = _path_of(lines, inode)
    listening, waiting = set(), []
    for line in lines:
        if line.endswith(path):  # excludes most lines, in a tenth of the time of a match
            fields = _UNIX_LINE.fullmatch(line)
            if fields is None or fields["path"] != path:
                continue
            if fields["flags"] == _LISTENS:
                listening.add(fields["inode"])
            elif fields["st"] == _CONNECTING:
                waiting.append(fields["num"])
    if len(listening) > 1:
        raise QueueError(f"{len(listening)} sockets listen at this path, in one list")
    return _distinct(waiting)


def _path_of(lines: list[bytes], inode: int) -> bytes:
    """Return the path of a listening socket. Raises ElsewhereError and QueueError."""
    needle = b" %d " % inode
    for line, following in pairwise(lines):
        if needle not in line:
            continue
        fields = _UNIX_LINE.fullmatch(line)
        if fields is None or int(fields["inode"]) != inode or fields["flags"] != _LISTENS:
            continue
        if following and not _UNIX_LINE.fullmatch(following):
            raise QueueError("there is a newline in its path")
        return bytes(fields["path"])
    raise ElsewhereError


def _distinct(nums: list[bytes]) -> int:
    """Return the number of sockets. The list may have one twice while others are created."""
    addresses = [num for num in nums if num.strip(_NO_ADDRESS)]
    return len(set(addresses)) + len(nums) - len(addresses)


def listening(pid: int, family: int) -> list[Listening]:
    """Return the listening TCP sockets in a process's network namespace.

    Raises OSError and QueueError.

    :param family: AF_INET or AF_INET6.
    """
    name = _TCP_FILES[socket.AddressFamily(family)]
    return decode_tcp((PROC / str(pid) / "net" / name).read_text())


def unix_length(inode: int, pid: int | None = None) -> int:
    """Return the length of a Unix listener's accept queue, in connections.

    A missing socket is looked up once more: the list may lack one while others are closed. Raises
    OSError, ElsewhereError and QueueError, also for a list of more than LONGEST bytes.

    :param inode: the listening socket's.
    :param pid: a process in the network namespace; None: this process.
    """
    path = PROC / ("self" if pid is None else str(pid)) / "net" / "unix"
    try:
        return count_waiting(_read(path), inode)
    except ElsewhereError:
        return count_waiting(_read(path), inode)


def _read(path: Path) -> bytes:
    octets = bytearray()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            octets += chunk
            if len(octets) > LONGEST:
                raise QueueError(f"the list is longer than {LONGEST} bytes")
    return bytes(octets)
