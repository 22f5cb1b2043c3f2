"""The numbers of one measurement of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary


class Shares(NamedTuple):
    """What the busy time was spent on: parts of 1.

    cpu: on a CPU. cpu_wait: waiting for a CPU. other: waiting for something else.
    """

    cpu: float
    cpu_wait: float
    other: float


class Waits(NamedTuple):
    """The measured waits, and the share (0 to 1) of the requests that waited longer than asked."""

    summary: WaitSummary
    longer: float


class PoolUse(NamedTuple):
    """A pool of threads behind event loops: shares of the samples, and maxima.

    full: no thread was free. queued: calls waited for a thread. most_working: threads at a time.
    capacity: threads; None: not fixed.
    """

    full: float
    queued: float
    most_working: int
    most_queued: int
    capacity: int | None


class LoopUse(NamedTuple):
    """The event loops. delays: of their timers. pools: by name."""

    delays: WaitSummary | None
    pools: Mapping[str, PoolUse]


class Measured(NamedTuple):
    """One measurement.

    seconds: its length. worker_class: gunicorn's setting. workers: their number at the end, with
    those that are starting. threads: requests that a worker serves at a time. capacity: requests
    that all workers serve at a time, the mean over the measurement. Both are 0 for event loops.
    requests: begun. load: mean number of busy workers, threads or loops. service_ms: mean busy time
    per request. variability: its squared coefficient of variation; None: too few requests seen.
    busy: of ``capacity`` (or of the loops), the mean share, 0 to 1. load, service_ms and busy are
    None if not measured. queue: waiting connections at the begin and at the end. dropped:
    connections that the kernel dropped.
    cpu_load: mean number of CPUs used. cpu_share: the same per worker, 0 to 1 or more. Both, shares
    and waits are None if not measured. cpus: that the server may use. loops: None without event
    loops.
    """

    seconds: float
    worker_class: str
    workers: int
    threads: int
    capacity: int
    requests: int
    load: float | None
    service_ms: float | None
    variability: float | None
    busy: float | None
    queue: tuple[int, int]
    dropped: int
    cpu_load: float | None
    cpu_share: float | None
    shares: Shares | None
    cpus: float
    waits: Waits | None
    loops: LoopUse | None
