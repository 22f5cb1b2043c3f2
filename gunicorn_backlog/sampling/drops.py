"""The drops of an interval, from the kernel's counters of sockets."""

from __future__ import annotations

from collections.abc import Mapping

_WRAP = 1 << 32  # sk_drops is a u32
_KEPT = 64  # counters of missing sockets: an interrupted dump may skip a socket


class Drops:
    """The growth of the counters of one listener's sockets.

    The counters of the first call are base lines: the sockets may have served another server. A
    socket that appears after the first call is new, and its whole counter is growth.

    begun: a counter was added.
    """

    def __init__(self) -> None:
        self.begun = False
        self._last: dict[int, int] = {}
        self._grown = 0

    def add(self, counters: Mapping[int, int]) -> None:
        """Add the current counters, modulo 2**32, by a key of each socket."""
        for key, now in counters.items():
            before = self._last.get(key, 0 if self.begun else now)
            self._grown += (now - before) % _WRAP
        self.begun = True
        self._last.update(counters)
        if len(self._last) > len(counters) + _KEPT:
            self._last = dict(counters)

    @property
    def latest(self) -> dict[int, int]:
        """The latest counter of each socket."""
        return dict(self._last)

    def take(self) -> int:
        """Return the drops since the last call."""
        grown, self._grown = self._grown, 0
        return grown
