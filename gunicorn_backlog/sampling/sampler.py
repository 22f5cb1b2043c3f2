"""One look at the whole server: its listeners and its workers."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.limits import Limits
from gunicorn_backlog.sampling.listeners import Listeners
from gunicorn_backlog.sampling.utilization import Utilization, WorkTime
from gunicorn_backlog.sampling.window import Sample
from gunicorn_backlog.sampling.worker_counts import WorkerCounter, WorkerCounts
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.server_info import ListenerRef
from gunicorn_backlog.scoreboard.slot import MEASURES_WAIT, Kind
from gunicorn_backlog.scoreboard.wait_histogram import HistogramDelta, WaitsError, WaitSummary
from gunicorn_backlog.scoreboard.worker_row import WorkerRows
from gunicorn_backlog.workers import registry

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Config

# gunicorn kills a worker that has not come up within its timeout: one that lives on has.
BOOT_SPARE_S = 5
BOOT_LIMIT_WITHOUT_TIMEOUT_S = 60
UNREAD_IN_A_ROW = 3  # samples


class Sampler:
    """Samples one arbiter, and says once what it can't see."""

    def __init__(
        self, arbiter: Arbiter, scoreboard: Scoreboard | None, notices: OnceLogger
    ) -> None:
        self._arbiter = arbiter
        self._scoreboard = scoreboard
        self._notices = notices
        self._listeners = Listeners(arbiter, notices)
        self._limits = Limits(notices)
        self._counter = WorkerCounter()
        self._utilization = Utilization()
        self._counted: HistogramDelta | None = None
        self._waits_measured = False  # whether workers can tell of each request how long it waited
        self._watched_after = 0  # the age of the youngest worker that could not know of us
        self._cfg: Config | None = None
        self._asked = 0
        self._boot_limit_s = 0
        self._unread_in_a_row = 0
        self.since_ns = 0  # when it began, CLOCK_MONOTONIC

    def begin(self, forked: int) -> None:
        """Begin to watch, or begin anew, after so many workers were forked unwatched."""
        self._watched_after = forked
        self.since_ns = time.monotonic_ns()
        self._utilization = Utilization()
        if self._scoreboard is not None:
            self._counted = HistogramDelta(self._scoreboard.reader.waits())

    def sample(self) -> Sample:
        """Look at everything once."""
        if self._arbiter.cfg is not self._cfg:
            self._cfg = self._arbiter.cfg
            # gunicorn looks a setting up in many steps: not for each sample.
            self._asked, self._boot_limit_s = self._cfg.backlog, self.boot_limit_s()
        queues = self._queues()
        self._look_at_limits(queues)
        return Sample(queues, *self._crew(), _gunicorn.forked(self._arbiter))

    def waits(self) -> WaitSummary | None:
        """Return how long the requests waited that were taken since the last call."""
        if self._scoreboard is None or self._counted is None:
            return None
        from_header = registry.kind_forked(self._arbiter) in MEASURES_WAIT
        counters = self._scoreboard.reader.waits()
        try:
            return self._counted.update(
                counters, measured=self._waits_measured, from_header=from_header
            )
        except WaitsError as error:
            self._notices.warn("waits", f"{error}: how long requests waited is not sent this time")
            return None

    def dropped(self) -> dict[str, int]:
        """Return the connections that each listener dropped since the last call."""
        return self._listeners.dropped()

    @property
    def bind(self) -> str:
        """The first listener, the value of the tag ``bind``; empty: none was seen yet."""
        return self._listeners.bind

    def places(self) -> tuple[ListenerRef, ...]:
        """Return where each listener is."""
        return self._listeners.places()

    def boot_limit_s(self) -> int:
        """Return after how many seconds a worker without a slot is taken for one that gets none."""
        timeout_s = self._arbiter.cfg.timeout
        return timeout_s + BOOT_SPARE_S if timeout_s else BOOT_LIMIT_WITHOUT_TIMEOUT_S

    def _queues(self) -> dict[str, AcceptQueue]:
        """Read all queues, and leave out those that the kernel does not fill in."""
        queues = self._listeners.read()
        for listener, (_, limit, _, _) in list(queues.items()):
            if limit == 0 and self._asked and somaxconn() != 0:
                del queues[listener]
                self._notices.warn(
                    f"no limit of {listener}",
                    f"the backlog of {listener} can't be read (this kernel says that its limit is "
                    "0): not sent, all else is",
                )
        return queues

    def _look_at_limits(self, queues: Mapping[str, AcceptQueue]) -> None:
        worker_class = self._arbiter.cfg.worker_class_str
        self._limits.look(queues, self._asked, worker_class, self._listeners.elsewhere())

    def _crew(self) -> tuple[WorkerCounts | None, WorkTime | None]:
        """Return the workers, and what they worked; None if a slot could not be read this time.

        Better no number than one that leaves a worker out.
        """
        running = _gunicorn.running(self._arbiter)
        if self._scoreboard is None:
            return WorkerCounts(0, 0, 0, len(running), None), None
        rows = self._scoreboard.reader.read(running)
        if rows.unread:
            return self._unread(len(running)), None
        self._unread_in_a_row = 0
        counts = self._count(running, rows)
        work = self._utilization.update(rows.by_pid)
        return counts, None if counts.saturated is None else work

    def _count(self, running: Mapping[int, int], rows: WorkerRows) -> WorkerCounts:
        if rows.by_pid:
            self._waits_measured = any(row.measures_wait for row in rows.by_pid.values())
        counts = self._counter.count(
            running,
            rows,
            self._boot_limit_s,
            watched_after=self._watched_after,
            kind_starting=registry.kind_forked(self._arbiter),
            heartbeats=registry.heartbeats(self._arbiter, rows.without_slot),
        )
        if counts.unknown:
            self._say_what_is_unknown({row.kind for row in rows.by_pid.values()})
        return counts

    def _unread(self, running: int) -> WorkerCounts | None:
        """Return nothing; if a worker is never read, what is known all the same."""
        self._unread_in_a_row += 1
        if self._unread_in_a_row < UNREAD_IN_A_ROW:
            return None
        self._notices.warn(
            "unread",
            "what a worker says of itself changes whenever it is read: workers are counted, their "
            "states and requests in flight are not sent",
        )
        return WorkerCounts(0, 0, 0, running, None)

    def _say_what_is_unknown(self, kinds: Collection[int]) -> None:
        if self._counter.overdue:
            late = f"have not reported after {self._boot_limit_s} s"
            serving = "serve, and the hook post_worker_init has not instrumented them"
            self._notices.warn(
                "no slot",
                f"{self._counter.overdue} workers {serving if self._counter.serving else late}: "
                "their states and requests in flight are not sent. Unless these workers logged a "
                "reason, end the config with gunicorn_backlog.hooks.install(globals())",
            )
        if Kind.FAILED in kinds:
            self._notices.warn(
                "unwatched",
                "a worker could not be watched, as its own line says: workers are counted, their "
                "states and requests in flight are not sent",
            )
        if Kind.UNKNOWN in kinds:
            self._notices.warn(
                "unknown class",
                f"the worker class {self._arbiter.cfg.worker_class_str} is not known: its workers "
                "are counted, their states and requests in flight are not sent",
            )
