"""``/proc/PID/net/tcp`` and ``unix``: the sockets of a network namespace, without a privilege.

``tcp`` has a line a socket (``Documentation/networking/proc_net_tcp.rst``; ``tcp6`` is alike):

======  =====================  ==================================================================
column  field                  meaning
======  =====================  ==================================================================
3       st                     the state; 0A is TCP_LISTEN
4       tx_queue:rx_queue      in hexadecimal; of a listening socket ``rx_queue`` is the length of
                               its accept queue; the limit stands nowhere
9       inode                  the socket's
======  =====================  ==================================================================

``unix`` as well (``unix_seq_show`` in ``net/unix/af_unix.c``):

======  =====================  ==================================================================
column  field                  meaning
======  =====================  ==================================================================
0       Num                    the kernel's address of the socket, hashed or zeros, and a colon
1       RefCount
2       Protocol
3       Flags                  00010000 (__SO_ACCEPTCON): it listens
4       Type
5       St                     02 (SS_CONNECTING): a connection that was not accepted yet
6       Inode                  the socket's; 0 until it is accepted
7       Path                   as bound, of the listening socket in its connections, too; the rest
                               of the line, with blanks and newlines; NULs of an abstract name,
                               the first included, are printed as @
======  =====================  ==================================================================

A connection that waits names the path that it was made to, and no more: neither the listening
socket nor a limit. It is listed in the network namespace of its client.
"""

from __future__ import annotations

import re
import socket
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from gunicorn_backlog.kernel.accept_queue import ElsewhereError, QueueError

PROC = Path("/proc")

PROC = Path("/proc")
LONGEST = 1 << 18  # bytes of ``unix``: 4,000 sockets take 20 ms, and forks wait up to 40 ms for us

_TCP_LISTEN = "0A"
_TCP_FILES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp6"}
_CHUNK = 1 << 16  # bytes; the kernel fills a page at most
_HEADER = b"Num "
_LISTENS = b"00010000"
_CONNECTING = b"02"
_NO_ADDRESS = b"0x"  # these characters alone: kernel.kptr_restrict hides it
_UNIX_LINE = re.compile(
    rb"(?P<num>[0-9a-fx]+): [0-9A-F]+ [0-9A-F]+ (?P<flags>[0-9A-F]+) [0-9A-F]+ "
    rb"(?P<st>[0-9A-F]+) +(?P<inode>[0-9]+)(?: (?P<path>.*))?"
)


class Listening(NamedTuple):
    """A listening TCP socket: its inode, and how many connections wait."""

    inode: int
    length: int


def decode_tcp(text: str) -> list[Listening]:
    """Return the listening sockets of the file. Raises QueueError."""
    try:
        rows = [line.split() for line in text.splitlines()[1:]]
        return [
            Listening(int(row[9]), int(row[4].partition(":")[2], 16))
            for row in rows
            if row[3] == _TCP_LISTEN
        ]
    except (ValueError, IndexError):
        raise QueueError("the kernel's list of TCP sockets is not as it should be") from None


def decode_unix(octets: bytes, inode: int) -> int:
    """Return how many connections wait at the path of the listening socket with that inode.

    Raises ElsewhereError if it is not listed, and QueueError: connections are told apart by the
    path alone, so there must be no other listening socket at it.
    """
    if not octets.startswith(_HEADER):
        raise QueueError("the kernel's list of Unix sockets is not as it should be")
    lines = octets.split(b"\n")
    path = _path_of(lines, inode)
    listening, waiting = set(), []
    for line in lines:
        if line.endswith(path):  # few do, and it takes a tenth of the time of a match
            found = _UNIX_LINE.fullmatch(line)
            if found is None or found["path"] != path:
                continue
            if found["flags"] == _LISTENS:
                listening.add(found["inode"])
            elif found["st"] == _CONNECTING:
                waiting.append(found["num"])
    if len(listening) > 1:
        raise QueueError(f"{len(listening)} sockets listen at this path, in one list")
    return _distinct(waiting)


def _path_of(lines: list[bytes], inode: int) -> bytes:
    """Return the path of a listening socket. Raises ElsewhereError and QueueError."""
    needle = b" %d " % inode
    for line, following in pairwise(lines):
        if needle not in line:
            continue
        found = _UNIX_LINE.fullmatch(line)
        if found is None or int(found["inode"]) != inode or found["flags"] != _LISTENS:
            continue
        if following and not _UNIX_LINE.fullmatch(following):
            raise QueueError("there is a newline in its path")
        return bytes(found["path"])
    raise ElsewhereError


def _distinct(nums: list[bytes]) -> int:
    """Count sockets; one that was listed while others came and went may be there twice."""
    return len({num for num in nums if num.strip(_NO_ADDRESS)}) + sum(
        not num.strip(_NO_ADDRESS) for num in nums
    )


def listening(pid: int, family: int) -> list[Listening]:
    """Return the listening TCP sockets in a process's network namespace.

    Raises OSError and QueueError.
    """
    name = _TCP_FILES[socket.AddressFamily(family)]
    return decode_tcp((PROC / str(pid) / "net" / name).read_text())


def unix_length(inode: int, pid: int | None = None, *, longest: int = LONGEST) -> int:
    """Return ``decode_unix`` of a process's network namespace; None: of this process.

    A socket that is not listed is looked for again: while others are closed one may be missing.
    Raises OSError and QueueError.
    """
    path = PROC / ("self" if pid is None else str(pid)) / "net" / "unix"
    try:
        return decode_unix(_read(path, longest), inode)
    except ElsewhereError:
        return decode_unix(_read(path, longest), inode)


def _read(path: Path, longest: int) -> bytes:
    octets = bytearray()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            octets += chunk
            if len(octets) > longest:
                raise QueueError(f"the list is longer than {longest} bytes")
    return bytes(octets)
