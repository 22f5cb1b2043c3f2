"""A detail row: numbers of one worker that are rarely written.

Each slot has a row of 8 words of 8 bytes, written by the slot's owner, by one store each:

=====  ==============  ===========================================================================
word   field           meaning
=====  ==============  ===========================================================================
0      begun_before    the slot's ``begun`` at its allocation: the requests of former owners
1…7    sockets         of each listening socket of the worker's own (``reuse_port``): the inode and
                       the lost connections, ``inode << 32 | lost``; 0: none
=====  ==============  ===========================================================================

A socket beyond the seventh has no word. The lost connections of a socket are those that were in its
accept queue when the worker closed the socket.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

DETAIL_ROW = struct.Struct("=8Q")

BEGUN_BEFORE = 0
_SOCKETS_AT = 1
SOCKETS = 8 - _SOCKETS_AT


class SocketState(NamedTuple):
    """A listening socket of a worker's own, and the connections that it lost when it was closed."""

    inode: int
    lost: int


class DetailState(NamedTuple):
    """A decoded detail row; see the module's table.

    sockets: in the order of the worker's listening sockets; None: no socket, or unknown.
    """

    begun_before: int
    sockets: tuple[SocketState | None, ...]


def decode_detail(octets: bytes | memoryview) -> DetailState:
    """Return the state in a detail row, DETAIL_ROW.size bytes."""
    begun_before, *words = DETAIL_ROW.unpack(octets)
    sockets = [SocketState(word >> 32, word & 0xFFFFFFFF) if word else None for word in words]
    return DetailState(begun_before, tuple(sockets))


class DetailRow:
    """A detail row, for its owner.

    words: the words in the shared memory; assigned anew by ``detach``.
    """

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def write_socket(self, number: int, state: SocketState) -> None:
        """Write a listening socket; a number of SOCKETS or more has no effect."""
        if number < SOCKETS:
            self.words[_SOCKETS_AT + number] = state.inode << 32 | min(state.lost, 0xFFFFFFFF)

    def detach(self) -> None:
        """Store nothing in the shared memory from now on, as in a child of the owner."""
        self.words = memoryview(bytearray(DETAIL_ROW.size)).cast("Q")
