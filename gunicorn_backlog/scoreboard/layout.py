"""Layout of the shared memory in which workers record their state, version 3.

All numbers are in the machine's byte order.

======  ====  ==============  ===================================================================
offset  size  field           meaning
======  ====  ==============  ===================================================================
0       8     magic           ``b"gubacklg"``; the arbiter writes the header once, except for
                              the fields with another note below
8       4     version         3
12      4     arbiter_pid
16      4     slots           number of slots
20      4     thread_rows     number of rows for threads
24      4     claimed         slots ever allocated; workers write this field under the lock
28      4     counters        number of counters in each histogram
32      4     info_size       bytes of the server info; the arbiter writes this field and the next
                              after each change of the text
36      4     info_crc        CRC-32 of these bytes; a reader rejects a text that does not match
40      24    (padding)
64      --    slots           64 bytes each, see ``slot``
--      --    thread rows     64 bytes each, those of a pool are adjacent, see ``slot``
--      --    loops           for each slot 128 bytes, see ``loop_row``
--      --    details         for each slot 64 bytes, see ``detail_row``
--      --    waits           for each slot a histogram of 8-byte counters and padding, see
                              ``wait_histogram``
--      --    delays          for each slot a histogram of the same form: of its loop's delays
--      --    server info     16 KiB, see ``server_info``
======  ====  ==============  ===================================================================
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import NamedTuple

from gunicorn_backlog.scoreboard.detail_row import DETAIL_ROW
from gunicorn_backlog.scoreboard.loop_row import LOOP_ROW
from gunicorn_backlog.scoreboard.slot import ROW_SIZE, SlotRows

MAGIC = b"gubacklg"
VERSION = 3
SLOTS = 8192  # maximum; untouched slots and thread rows take no memory
THREAD_ROWS = 65536
COUNTERS = 264  # of a histogram; fills whole cache lines
HISTOGRAM_SIZE = 8 * COUNTERS
SLOTS_AT = 64
INFO_SIZE = 1 << 14

_HEADER = struct.Struct("=8sIIIIII32x")
_CLAIMED = struct.Struct("=I")
_CLAIMED_AT = 24
_INFO = struct.Struct("=II")
_INFO_AT = 32


class LayoutError(Exception):
    """The memory does not have this layout."""


class Layout(NamedTuple):
    """Offsets in a memory with ``slots`` slots and ``thread_rows`` rows for threads, in bytes."""

    slots: int
    thread_rows: int

    @property
    def thread_rows_at(self) -> int:
        """Offset of the first thread row."""
        return SLOTS_AT + self.slots * ROW_SIZE

    @property
    def loops_at(self) -> int:
        """Offset of the first slot's loop row."""
        return self.thread_rows_at + self.thread_rows * ROW_SIZE

    @property
    def details_at(self) -> int:
        """Offset of the first slot's detail row."""
        return self.loops_at + self.slots * LOOP_ROW.size

    @property
    def waits_at(self) -> int:
        """Offset of the first slot's waits."""
        return self.details_at + self.slots * DETAIL_ROW.size

    @property
    def delays_at(self) -> int:
        """Offset of the first slot's delays."""
        return self.waits_at + self.slots * HISTOGRAM_SIZE

    @property
    def info_at(self) -> int:
        """Offset of the server info, behind the delays."""
        return self.delays_at + self.slots * HISTOGRAM_SIZE

    @property
    def size(self) -> int:
        """Size of the memory, in bytes."""
        return self.info_at + INFO_SIZE

    def header(self, arbiter_pid: int) -> bytes:
        """Return the header of a memory without allocated slots."""
        return _HEADER.pack(MAGIC, VERSION, arbiter_pid, self.slots, self.thread_rows, 0, COUNTERS)

    def rows(self, memory: memoryview, index: int) -> SlotRows:
        """Return the bytes of a slot."""
        regions = (
            (SLOTS_AT, ROW_SIZE),
            (self.loops_at, LOOP_ROW.size),
            (self.details_at, DETAIL_ROW.size),
            (self.waits_at, HISTOGRAM_SIZE),
            (self.delays_at, HISTOGRAM_SIZE),
        )
        begins = ((at + index * size, size) for at, size in regions)
        return SlotRows(*[memory[begin : begin + size] for begin, size in begins])

    def claimed(self, memory: mmap.mmap) -> int:
        """Return the number of slots that were ever allocated."""
        (claimed,) = _CLAIMED.unpack_from(memory, _CLAIMED_AT)
        return min(int(claimed), self.slots)  # a worker may have overwritten the field

    def write_info(self, memory: mmap.mmap, octets: bytes) -> None:
        """Write the server info, at most INFO_SIZE bytes; for the arbiter only."""
        memory[self.info_at : self.info_at + len(octets)] = octets
        packed = _INFO.pack(len(octets), zlib.crc32(octets))
        memory[_INFO_AT : _INFO_AT + _INFO.size] = packed

    def info(self, memory: mmap.mmap) -> bytes:
        """Return the server info. Raises LayoutError, also during a write by the arbiter."""
        size, crc = _INFO.unpack_from(memory, _INFO_AT)
        if not size:
            raise LayoutError("the arbiter has not written its server info yet")
        octets = memory[self.info_at : self.info_at + min(size, INFO_SIZE)]
        if zlib.crc32(octets) != crc:
            raise LayoutError("the server info does not match its checksum")
        return octets


def decode_header(octets: bytes, size: int) -> tuple[Layout, int]:
    """Return the layout of a memory of ``size`` bytes and the arbiter's pid. Raises LayoutError.

    :param octets: the first SLOTS_AT bytes.
    """
    if len(octets) < _HEADER.size:
        raise LayoutError(f"{len(octets)} bytes are no header")
    magic, version, arbiter_pid, slots, thread_rows, _, counters = _HEADER.unpack_from(octets)
    if magic != MAGIC:
        raise LayoutError("it does not begin with our magic")
    if version != VERSION:
        raise LayoutError(f"it has layout version {version}, this reader reads {VERSION}")
    layout = Layout(slots, thread_rows)
    if slots > SLOTS or thread_rows > THREAD_ROWS or counters != COUNTERS or layout.size != size:
        raise LayoutError(f"its header does not fit its {size} bytes")
    return layout, arbiter_pid


def write_claimed(memory: mmap.mmap, claimed: int) -> None:
    """Write the number of slots that were ever allocated; the caller holds the lock."""
    memory[_CLAIMED_AT : _CLAIMED_AT + _CLAIMED.size] = _CLAIMED.pack(claimed)
