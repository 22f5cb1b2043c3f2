"""A detail row: numbers of one worker that are rarely written.

Each slot has a row of 8 words of 8 bytes, written by the slot's owner, by one store each:

=====  ==============  ===========================================================================
word   field           meaning
=====  ==============  ===========================================================================
0      begun_before    the slot's ``begun`` at its allocation: the requests of former owners
1…7    sockets         of each listening socket of the worker: inode and state; 0: none
=====  ==============  ===========================================================================

A socket beyond the seventh has no word. The word of a socket:

=======  ==============  =========================================================================
bits     field           meaning
=======  ==============  =========================================================================
32…63    inode
14…31    length + 1      of the accept queue when the worker closed the socket; 0: still open
0…13     closed_at       CLOCK_MONOTONIC of the close in 10 ms, modulo 2**14
=======  ==============  =========================================================================
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import NamedTuple

DETAIL_ROW = struct.Struct("=8Q")

BEGUN_BEFORE = 0
_SOCKETS_AT = 1
SOCKETS = 8 - _SOCKETS_AT
_LENGTH_AT, _TIMES, _LENGTHS = 14, 1 << 14, 1 << 18
_TIME_NS = 10_000_000


class SocketState(NamedTuple):
    """A listening socket of a worker.

    length: of the accept queue when the worker closed the socket; None: open, or not recorded.
    closed_at: time of the close, in 10 ms modulo 2**14.
    """

    inode: int
    length: int | None
    closed_at: int = 0

    def is_later_than(self, other: SocketState) -> bool:
        """Return whether the socket was closed after another one, within 80 s."""
        return 0 < (self.closed_at - other.closed_at) % _TIMES < _TIMES // 2


class DetailState(NamedTuple):
    """A decoded detail row; see the module's table.

    sockets: in the order of the worker's listening sockets; None: no socket, or unknown.
    """

    begun_before: int
    sockets: tuple[SocketState | None, ...]


def decode_detail(octets: bytes | memoryview) -> DetailState:
    """Return the state in a detail row, DETAIL_ROW.size bytes."""
    begun_before, *words = DETAIL_ROW.unpack(octets)
    sockets = [_decode_socket(word) if word else None for word in words]
    return DetailState(begun_before, tuple(sockets))


def _decode_socket(word: int) -> SocketState:
    length = word >> _LENGTH_AT & _LENGTHS - 1
    return SocketState(word >> 32, length - 1 if length else None, word % _TIMES)


class DetailRow:
    """A detail row, for its owner.

    words: the words in the shared memory; ``detach`` replaces them.
    """

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def write_socket(
        self,
        number: int,
        inode: int,
        length: int | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Write a listening socket; a number of SOCKETS or more has no effect.

        :param length: of the accept queue at the close; None: the socket is open.
        """
        if number < SOCKETS:
            state = 0
            if length is not None:
                state = min(length + 1, _LENGTHS - 1) << _LENGTH_AT
                state |= clock_ns() // _TIME_NS % _TIMES
            self.words[_SOCKETS_AT + number] = inode << 32 | state

    def detach(self) -> None:
        """Store nothing in the shared memory from now on, as in a child of the owner."""
        self.words = memoryview(bytearray(DETAIL_ROW.size)).cast("Q")
