"""Whether the kernel enforces the backlog that gunicorn was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gunicorn_backlog.accept_queue import AcceptQueue
from gunicorn_backlog.notices import Notices

SETTLED_S = 1.0  # a reload replaces config and sockets one after the other


class Limits:
    """Says once of each listener that its limit is lower than what was asked for, and why."""

    def __init__(self, notices: Notices, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._notices = notices
        self._clock = clock
        self._since_s: dict[tuple[str, int, int], float] = {}

    def look(self, queues: Mapping[str, AcceptQueue], asked: int) -> None:
        """Compare each listener's limit with gunicorn's ``backlog``; it must last to be told."""
        low = []
        for listener, (_, limit, _, lowest) in queues.items():
            of_one = limit if lowest is None else lowest
            if of_one < asked:
                low.append((listener, of_one, asked))
        if low or self._since_s:
            now_s = self._clock()
            self._since_s = {case: self._since_s.get(case, now_s) for case in low}
            for case, since_s in self._since_s.items():
                if now_s - since_s >= SETTLED_S:
                    self._say(*case)

    def _say(self, listener: str, limit: int, asked: int) -> None:
        greatest = somaxconn()
        if greatest is None:
            why = "net.core.somaxconn can't be read here"
        elif limit == greatest:
            why = "net.core.somaxconn clamps it: raise that (in a container, that of its namespace)"
        else:
            why = (
                "whoever listened last asked for that. gunicorn's asgi worker makes asyncio listen "
                "with 100, a systemd unit may with its Backlog=, and after a HUP gunicorn listens "
                "anew only if bind changed"
            )
        self._notices.warn(
            f"limit of {listener}",
            f"the backlog of {listener} was to be {asked}, the kernel enforces {limit}: {why}",
        )


def somaxconn() -> int | None:
    """Return the greatest limit that the kernel enforces; None if it can't be read."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return None
