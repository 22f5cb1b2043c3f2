"""From counters of sockets to the connections dropped since last time."""

from __future__ import annotations

from collections.abc import Mapping

_WRAP = 1 << 32  # sk_drops is a u32
_KEPT = 64  # sockets that are gone; one that a dump has missed may be there again


class Drops:
    """Adds up by how much the counters of one listener's sockets grow.

    A socket's first reading is its base line, for it may have served another server before; but
    one that appears after the first call is new, and all that it counted is of now. ``begun``
    says whether there was a reading at all.
    """

    def __init__(self) -> None:
        self.begun = False
        self._last: dict[int, int] = {}
        self._grown = 0

    def add(self, counters: Mapping[int, int]) -> None:
        """Take in the counters as they are now, by what tells the sockets apart."""
        for key, now in counters.items():
            before = self._last.get(key, 0 if self.begun else now)
            self._grown += (now - before) % _WRAP
        self.begun = True
        self._last.update(counters)
        if len(self._last) > len(counters) + _KEPT:
            self._last = dict(counters)

    @property
    def latest(self) -> dict[int, int]:
        """The counters that were read last."""
        return dict(self._last)

    def take(self) -> int:
        """Return by how much they grew since the last call."""
        grown, self._grown = self._grown, 0
        return grown
