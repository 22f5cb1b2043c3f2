"""The connections dropped in an interval, from counters of sockets."""

from __future__ import annotations

from collections.abc import Mapping

_WRAP = 1 << 32  # sk_drops is a u32
_KEPT = 64  # sockets that are missing; a dump that changed may have skipped one


class Drops:
    """The growth of the counters of one listener's sockets.

    The first counter of a socket is its base line, since the socket may have served another server
    before. A socket that appears after the first call is new: its whole counter is growth.
    ``begun``: a counter was added.
    """

    def __init__(self) -> None:
        self.begun = False
        self._last: dict[int, int] = {}
        self._grown = 0

    def add(self, counters: Mapping[int, int]) -> None:
        """Add the current counters, by a key of each socket."""
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
        """Return the growth since the last call."""
        grown, self._grown = self._grown, 0
        return grown
