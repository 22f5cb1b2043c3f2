"""The pipeline from samples to pushes, with the settings in force."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gunicorn import __version__ as gunicorn_version

from gunicorn_backlog import __version__
from gunicorn_backlog.arbiter.exits import Exits
from gunicorn_backlog.config.agent_address import is_local
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.log import OnceLogger, log_errors
from gunicorn_backlog.sampling.cpu import CpuUsage
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.window import Window
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.workers import registry

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter
    from gunicorn_backlog.dogstatsd.reporter import Reporter


class Pipeline:
    """Samples an arbiter, summarizes each interval, and pushes the summary.

    Call its methods with the fork gate held, or before the thread starts.

    :ivar settings: the settings in force.
    :ivar scoreboard: the shared memory; None if there is none.
    :ivar resolves_names: whether the Agent's address is a name that needs look-ups.
    """

    def __init__(self, arbiter: Arbiter, logger: OnceLogger) -> None:
        self.settings = Settings(enabled=False)
        self.scoreboard: Scoreboard | None = None
        self.resolves_names = False
        self._arbiter = arbiter
        self._logger = logger
        self._sampler: Sampler | None = None
        self._reporter: Reporter | None = None
        self._window = Window()
        self._exits = Exits(arbiter, logger)

    def apply_settings(self, settings: Settings, forked: int, *, restart: bool) -> None:
        """Put the settings in force.

        The current interval goes on if its pace stays the same. Otherwise frequent HUPs, several in
        each interval, would prevent every push.

        :param forked: workers that were forked before, under the former settings.
        :param restart: no thread runs: there are no samples to continue from.
        """
        former, self.settings = self.settings, settings
        if not settings.enabled:
            return
        self._create_reporter(settings)
        registry.prepare(self._arbiter)
        if self.scoreboard is None or self._sampler is None:
            self._sampler = Sampler(self._arbiter, self._create_scoreboard(), self._logger)
            self._sampler.begin(forked)
            if self.scoreboard is not None:
                self._exits.reader = self.scoreboard.reader
        if restart:
            self._window = Window(forked)
            self._exits.watch()
            self._sampler.begin(forked)
        elif settings.pace != former.pace:
            self._window.discard()

    def prepare(self) -> None:
        """Start the look-up of the Agent's name, before the first push needs the address."""
        if self._reporter is not None:
            self._reporter.agent.prepare()

    def sample(self) -> None:
        """Sample all listeners and workers once."""
        assert self._sampler is not None
        self._window.add(self._sampler.sample(self._exits.asked))

    def push(self, *, stopping: bool = False) -> None:
        """Push the interval that ends now, without the numbers whose computation fails.

        :param stopping: this is the last push of a shutdown.
        """
        assert self._reporter is not None
        assert self._sampler is not None
        if self._window.is_empty:  # exits, drops, waits and requests are part of the next push
            return
        sampler, logger = self._sampler, self._logger
        exited = log_errors(logger, "counting exits", partial(self._exits.take, sampler.ages))
        interval = self._window.close(youngest=self._exits.youngest)
        listeners, workers = sampler.listeners, sampler.workers
        count_lost = partial(self._count_lost, sampler, stopping=stopping)
        interval = interval._replace(
            dropped=log_errors(logger, "counting drops", listeners.dropped) or {},
            waits=log_errors(logger, "summing the waits", workers.waits),
            delays=log_errors(logger, "summing the delays", workers.delays),
            begun=log_errors(logger, "counting requests", workers.begun),
            cpu=log_errors(logger, "reading CPU times", workers.cpu) or CpuUsage(),
            exited=exited or {},
            lost=log_errors(logger, "counting lost connections", count_lost) or {},
            busiest=log_errors(logger, "finding the busiest", workers.busiest),
            timeout_used=log_errors(logger, "reading heartbeats", sampler.heartbeats.take),
        )
        app, bind = self._arbiter.proc_name, listeners.bind
        self._reporter.deliver(interval, app, bind, stopping=stopping)

    def _count_lost(self, sampler: Sampler, *, stopping: bool) -> dict[str, int]:
        killed = stopping and self._exits.all_killed()
        details = None if self.scoreboard is None else self.scoreboard.reader.details
        sockets, ages = self._exits.sockets, sampler.ages
        return sampler.listeners.count_lost(
            sockets, details, ages, stopping=stopping, killed=killed
        )

    def publish_server_info(self) -> None:
        """Write the server info to the shared memory, for the inspection commands."""
        server_info = self.server_info()
        if self.scoreboard is not None and server_info is not None:
            self.scoreboard.publish(server_info)

    def server_info(self) -> ServerInfo | None:
        """Return the server info; None until the pipeline has been enabled once."""
        if self._sampler is None or self._reporter is None:
            return None
        return ServerInfo(
            app=self._arbiter.proc_name,
            version=__version__,
            gunicorn=gunicorn_version,
            worker_class=self._arbiter.cfg.worker_class_str,
            kind=int(registry.kind_forked(self._arbiter)),
            enabled=self.settings.enabled,
            interval_s=self.settings.interval_s,
            backlog=self._arbiter.cfg.backlog,
            boot_limit_s=self._sampler.boot_limit_s(),
            watched_since_ns=self._sampler.since_ns,
            agent=str(self.settings.address),
            agent_from=self.settings.address_from,
            agent_error=self._reporter.error,
            listeners=self._sampler.listeners.refs(),
            warnings=self._logger.warnings,
        )

    def wait_for_look_up(self, until_s: float) -> None:
        """Wait for the end of a look-up.

        :param until_s: deadline by ``time.monotonic()``; the wait may be some milliseconds longer.
        """
        if self._reporter is not None:
            self._reporter.agent.resolver.wait_for_look_up(until_s)

    def after_fork_in_child(self) -> None:
        """Close the worker's copy of the socket, and detach a worker's child from its slot."""
        if self.scoreboard is not None:
            self.scoreboard.detach()
        if self._reporter is not None:
            self._reporter.agent.close()

    def _create_reporter(self, settings: Settings) -> None:
        # Imports datadog here: neither the load of a config nor a disabled server needs datadog.
        # An import in our thread could leave a half imported module in a forked worker.
        from gunicorn_backlog.dogstatsd.reporter import Reporter

        former = self._reporter
        if former is not None:
            former.agent.close()
        self._reporter = Reporter(settings, self._logger, former=former)
        self.resolves_names = not is_local(settings.address)

    def _create_scoreboard(self) -> Scoreboard | None:
        try:
            self.scoreboard = Scoreboard()
            self._logger.reset("scoreboard")
        except (OSError, ValueError) as error:
            self._logger.warn(
                "scoreboard",
                f"no shared memory ({error}): workers are counted, their states and requests "
                "in flight are not sent; a reload tries again",
                until_reset=True,
            )
        return self.scoreboard
