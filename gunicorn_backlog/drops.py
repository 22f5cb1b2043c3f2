"""From counters of sockets to the connections dropped since last time."""

from __future__ import annotations

from collections.abc import Mapping

_WRAP = 1 << 32  # sk_drops is a u32


class Drops:
    """Adds up by how much the counters of one listener's sockets grow.

    The first reading of a socket is its base line: it may have served another server before.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._grown = 0

    def add(self, counters: Mapping[int, int]) -> None:
        """Take in the counters as they are now, by what tells the sockets apart."""
        last, self._last = self._last, dict(counters)
        self._grown += sum((now - last.get(key, now)) % _WRAP for key, now in counters.items())

    def take(self) -> int:
        """Return by how much they grew since the last call."""
        grown, self._grown = self._grown, 0
        return grown
