"""Pack serialized lines into payloads: datagrams, or messages of a stream.

The Agent's ``dogstatsd_buffer_size`` is 8,192 bytes. The Agent truncates longer datagrams, and
closes a stream with a longer message. The ``datadog`` client has the same limits, but counts
characters.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_BYTES = 8192
UDP_BYTES = 1432  # fits into Ethernet's 1,500 bytes with IPv6 and UDP headers: no fragments


def pack(lines: Iterable[bytes], size: int) -> tuple[list[bytes], int]:
    """Pack whole lines into payloads of up to ``size`` bytes; a longer line has its own payload.

    Returns the payloads in the order of their lines, and the number of lines over MAX_BYTES.

    :param lines: bytes, each with its newline.
    :param size: bytes, up to MAX_BYTES.
    """
    payloads, batch, left_out = [], b"", 0
    for line in lines:
        parts = split_values(line)
        left_out += not parts
        for part in parts:
            if batch and len(batch) + len(part) > size:
                payloads.append(batch)
                batch = b""
            batch += part
    return [*payloads, batch] if batch else payloads, left_out


def split_values(line: bytes, max_bytes: int = MAX_BYTES) -> list[bytes]:
    """Return lines of up to ``max_bytes`` that share the values of ``line``; empty: none fits.

    ``name:1:2:3|h|#tag`` has three samples of a histogram, which several lines can carry as well.
    """
    if len(line) <= max_bytes:
        return [line]
    head, bar, tail = line.partition(b"|")
    name, *values = head.split(b":")
    room = max_bytes - len(name) - len(bar + tail)
    if not values or max(map(len, values)) + 1 > room:
        return []
    groups = [b""]
    for value in values:
        if len(groups[-1]) + 1 + len(value) > room:
            groups.append(b"")
        groups[-1] += b":" + value
    return [name + group + bar + tail for group in groups]
