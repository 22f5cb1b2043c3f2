"""The last measured wait of a worker, which counts for the requests right behind it.

A measurement takes longer than all other work of a request. Behind a short wait it is skipped, and
the request counts with the last measured value. This holds only if the accept queue was short:

* The last measurement is younger than FRESH_NS when the worker takes the connection.
* It was at most one tick of the kernel, which is the resolution of a wait.
* The measured connection was at most one tick old, or had sent a response within one tick. A client
  that connected early and sent late has no wait, but behind it a queue may have grown.

A queue is first in, first out: the next request arrived after the measured connection. Therefore
its wait is at most two ticks longer than the counted one. A worker with several listeners has
several queues, and TLS has waits of its own: there each wait is measured.

``handle`` permits, when it takes a connection; ``handle_request`` uses the permission, once. In a
pool a thread may take a connection before, and read its head after, another thread's measurement:
only the time of the take shows which of the two is in front.

Not covered: gthread's main thread accepts one connection per turn of its loop, but takes all
requests of kept-alive connections. If it falls behind, new connections wait longer than these.
"""

from __future__ import annotations

import time
from math import ceil

FRESH_NS = 4_000_000
NEVER_NS = -(1 << 62)  # of a last measurement that permits nothing
_CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h; its resolution is one tick
_USUAL_TICK_S = 0.004  # HZ=250


def _tick_ms() -> int:
    try:
        return ceil(1000 * time.clock_getres(_CLOCK_MONOTONIC_COARSE))
    except OSError:
        return ceil(1000 * _USUAL_TICK_S)


TICK_MS = _tick_ms()


class LastWait:
    """The last measured wait of a worker.

    bucket: of the last wait that permits to skip a measurement.
    measured_ns: time of the last measurement, CLOCK_MONOTONIC; NEVER_NS if it permits nothing.
    fresh_ns: age at which a measurement permits no more.
    is_permitted: the next request of a worker with one thread may count with ``bucket``.
    permitted: idents of the threads whose next request may count with ``bucket``.
    """

    __slots__ = ("bucket", "fresh_ns", "is_permitted", "measured_ns", "permitted")

    def __init__(self, *, skips: bool) -> None:
        """Permit nothing yet; ``skips=False``: never."""
        self.bucket = 0
        self.fresh_ns = FRESH_NS if skips else 0
        self.is_permitted = False
        self.measured_ns = NEVER_NS
        self.permitted: set[int] = set()
