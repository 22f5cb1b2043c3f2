"""Samples of the whole server: its listeners and its workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling import sampler_log
from gunicorn_backlog.sampling.heartbeats import Heartbeats
from gunicorn_backlog.sampling.limits import Limits
from gunicorn_backlog.sampling.listeners import Listeners
from gunicorn_backlog.sampling.window import Sample
from gunicorn_backlog.sampling.worker_sampler import WorkerSampler
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Config

# gunicorn kills a worker that does not start within its timeout; a survivor has started.
BOOT_SPARE_S = 5
BOOT_LIMIT_WITHOUT_TIMEOUT_S = 60


class Sampler:
    """Samples one arbiter, and logs each unreadable number once.

    listeners: of the arbiter, with their drops and lost connections.
    workers: the sampler of the workers, and of what they have counted.
    since_ns: start of the sampling, CLOCK_MONOTONIC.
    ages: of the workers of the latest sample.
    heartbeats: of all workers.
    """

    def __init__(self, arbiter: Arbiter, scoreboard: Scoreboard | None, logger: OnceLogger) -> None:
        self._arbiter = arbiter
        self._logger = logger
        self.listeners = Listeners(arbiter, logger)
        self._limits = Limits(logger)
        self.workers = WorkerSampler(arbiter, scoreboard, logger)
        self.heartbeats = Heartbeats(arbiter)
        self._cfg: Config | None = None
        self._backlog = 0  # gunicorn's setting, in connections
        self.since_ns = 0
        self.ages: Collection[int] = ()

    def begin(self, forked: int) -> None:
        """Start or restart the sampling.

        :param forked: the number of workers forked before; these are not instrumented.
        """
        self.since_ns = time.monotonic_ns()
        self.workers.begin(forked, self.since_ns)

    def sample(self, asked: Callable[[], Collection[int]] = frozenset) -> Sample:
        """Return a sample of all listeners and workers.

        :param asked: returns the pids of workers that gunicorn has asked to exit.
        """
        if self._arbiter.cfg is not self._cfg:
            self._cfg = self._arbiter.cfg
            # Not in each sample: gunicorn's look-up of a setting takes many steps.
            self._backlog, self.workers.boot_limit_s = self._cfg.backlog, self.boot_limit_s()
        queues = self._queues()
        worker_class = self._arbiter.cfg.worker_class_str
        self._limits.check(queues, self._backlog, worker_class, self.listeners.elsewhere())
        self.heartbeats.sample()
        running = _gunicorn.worker_ages(self._arbiter)
        self.ages = running.values()
        counts, work = self.workers.sample(running)
        requests = self.workers.sample_requests(counts, self.listeners.own_lengths(), asked)
        # Not the arbiter's count: gunicorn raises this count before the fork.
        return Sample(queues, counts, work, max(self.ages, default=0), requests)

    def boot_limit_s(self) -> int:
        """Return the age in seconds from which a worker without a slot is not starting."""
        timeout_s = self._arbiter.cfg.timeout
        return timeout_s + BOOT_SPARE_S if timeout_s else BOOT_LIMIT_WITHOUT_TIMEOUT_S

    def _queues(self) -> dict[str, AcceptQueue]:
        """Return all queues except those that the kernel does not fill in."""
        queues = self.listeners.read()
        for listener, (_, limit, _, _) in list(queues.items()):
            if limit == 0 and self._backlog and somaxconn() != 0:
                del queues[listener]
                sampler_log.warn_no_limit(self._logger, listener)
        return queues
