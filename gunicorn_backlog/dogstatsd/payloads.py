"""Lines to datagrams that a network passes unsplit and an Agent reads whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# Bytes of a datagram, or of a stream's message. An Agent's ``dogstatsd_buffer_size`` is 8,192: it
# cuts longer datagrams off, and closes a stream with a longer message. The ``datadog`` client has
# the same two, but counts characters.
LONGEST = 8192
UDP_UNSPLIT = 1432  # UDP and IPv6 headers and some room, of Ethernet's 1,500


class Payloads(NamedTuple):
    """``datagrams`` in the order of their lines; ``left_out``: lines too long for any datagram."""

    datagrams: list[bytes]
    left_out: int


def packed(lines: Iterable[bytes], size: int) -> Payloads:
    """Fill datagrams of up to ``size`` bytes with whole lines; a line over ``size`` is alone.

    :param lines: each with its newline.
    """
    datagrams, batch, left_out = [], b"", 0
    for line in lines:
        parts = fitting(line)
        left_out += not parts
        for part in parts:
            if batch and len(batch) + len(part) > size:
                datagrams.append(batch)
                batch = b""
            batch += part
    return Payloads([*datagrams, batch] if batch else datagrams, left_out)


def fitting(line: bytes, longest: int = LONGEST) -> list[bytes]:
    """Return the line, or several lines with some of its values each; empty: no line fits.

    ``name:1:2:3|h|#tag`` is three samples of a histogram, wherever they stand.
    """
    if len(line) <= longest:
        return [line]
    head, bar, tail = line.partition(b"|")
    name, *values = head.split(b":")
    room = longest - len(name) - len(bar + tail)
    if not values or max(map(len, values)) + 1 > room:
        return []
    groups = [b""]
    for value in values:
        if len(groups[-1]) + 1 + len(value) > room:
            groups.append(b"")
        groups[-1] += b":" + value
    return [name + group + bar + tail for group in groups]
