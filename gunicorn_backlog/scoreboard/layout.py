"""How the shared memory is laid out in which each worker says what it is doing.

All numbers are in the machine's byte order, the layout is that of version 2:

======  ====  ==============  ===================================================================
offset  size  field           meaning, and who writes it
======  ====  ==============  ===================================================================
0       8     magic           ``b"gubacklg"``; the header is the arbiter's, written once but
                              for what is said otherwise
8       4     version         2
12      4     arbiter_pid
16      4     slots           how many slots follow
20      4     lines           how many lines for threads follow them
24      4     claimed         slots ever claimed, from the first; a worker, under the lock
28      4     counters        how many counters each slot's waits have
32      4     about_size      bytes of what the arbiter says of itself; it writes this again with
                              each change, after the text
36      4     about_crc       their CRC-32: text and size that do not belong together are told by it
40      24    (padding)
64      --    slots           one after the other, 64 bytes each, see ``slot``
--      --    lines           of 64 bytes, of threads: a pool's one after the other
--      --    waits           of each slot one after the other, counters of 8 bytes: how many
                              requests waited how long, see ``waits``; the rest of them is padding
--      --    about           16 KiB, what the arbiter says of itself, see ``about``
======  ====  ==============  ===================================================================
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import NamedTuple

from gunicorn_backlog.scoreboard.slot import ROW_SIZE

MAGIC = b"gubacklg"
VERSION = 2
SLOTS = 8192  # at the most; untouched ones take no memory, nor do lines
THREAD_ROWS = 65536
COUNTERS = 264  # of a slot's waits, whole cache lines
WAITS_SIZE = 8 * COUNTERS
SLOTS_AT = 64
ABOUT_SIZE = 1 << 14

_HEADER = struct.Struct("=8sIIIIII32x")
_CLAIMED = struct.Struct("=I")
_CLAIMED_AT = 24
_ABOUT = struct.Struct("=II")
_ABOUT_AT = 32


class LayoutError(Exception):
    """What is there is not laid out like this."""


class Layout(NamedTuple):
    """Where what is, by how many slots, and lines for threads, there are."""

    slots: int
    thread_rows: int

    @property
    def thread_rows_at(self) -> int:
        """Where the lines for threads begin."""
        return SLOTS_AT + self.slots * ROW_SIZE

    @property
    def waits_at(self) -> int:
        """Where the waits begin."""
        return self.thread_rows_at + self.thread_rows * ROW_SIZE

    @property
    def about_at(self) -> int:
        """Where the waits end, and begins what the arbiter says of itself."""
        return self.waits_at + self.slots * WAITS_SIZE

    @property
    def size(self) -> int:
        """All of it, in bytes."""
        return self.about_at + ABOUT_SIZE

    def header(self, arbiter_pid: int) -> bytes:
        """Return the header of a memory in which nothing is claimed."""
        return _HEADER.pack(MAGIC, VERSION, arbiter_pid, self.slots, self.thread_rows, 0, COUNTERS)

    def claimed(self, memory: mmap.mmap) -> int:
        """Return how many slots were ever claimed."""
        (claimed,) = _CLAIMED.unpack_from(memory, _CLAIMED_AT)
        return min(int(claimed), self.slots)  # a worker that ran amok may have written it

    def write_about(self, memory: mmap.mmap, octets: bytes) -> None:
        """Write what the arbiter says of itself, at most ABOUT_SIZE bytes."""
        memory[self.about_at : self.about_at + len(octets)] = octets
        packed = _ABOUT.pack(len(octets), zlib.crc32(octets))
        memory[_ABOUT_AT : _ABOUT_AT + _ABOUT.size] = packed

    def about(self, memory: mmap.mmap) -> bytes:
        """Return what the arbiter says of itself. Raises LayoutError: it is being written, say."""
        size, crc = _ABOUT.unpack_from(memory, _ABOUT_AT)
        if not size:
            raise LayoutError("the arbiter has not said anything of itself yet")
        octets = memory[self.about_at : self.about_at + min(size, ABOUT_SIZE)]
        if zlib.crc32(octets) != crc:
            raise LayoutError("what the arbiter says of itself is not what it wrote")
        return octets


def decode_header(octets: bytes, size: int) -> tuple[Layout, int]:
    """Return the layout of a memory of that ``size``, and the arbiter's pid. Raises LayoutError.

    :param octets: its first SLOTS_AT bytes.
    """
    if len(octets) < _HEADER.size:
        raise LayoutError(f"{len(octets)} bytes are no header")
    magic, version, arbiter_pid, slots, thread_rows, _, counters = _HEADER.unpack_from(octets)
    if magic != MAGIC:
        raise LayoutError("it does not begin as ours do")
    if version != VERSION:
        raise LayoutError(f"its layout is of version {version}, and {VERSION} is what is read here")
    layout = Layout(slots, thread_rows)
    if slots > SLOTS or thread_rows > THREAD_ROWS or counters != COUNTERS or layout.size != size:
        raise LayoutError(f"its header does not fit its {size} bytes")
    return layout, arbiter_pid


def write_claimed(memory: mmap.mmap, claimed: int) -> None:
    """Write how many slots were ever claimed."""
    memory[_CLAIMED_AT : _CLAIMED_AT + _CLAIMED.size] = _CLAIMED.pack(claimed)
