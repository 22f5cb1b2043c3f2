"""What is seen of one arbiter and sent, by the settings in force: samples, and their pushes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gunicorn_backlog import _gunicorn as gunicorn
from gunicorn_backlog.arbiter import server_info
from gunicorn_backlog.config.agent_address import is_local
from gunicorn_backlog.config.configure import configured
from gunicorn_backlog.config.settings import ConfigError, Settings, load
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.metrics import own_metric
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.window import Window
from gunicorn_backlog.scoreboard.allocation import ClaimError
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.workers import registry

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Config, Worker
    from gunicorn_backlog.dogstatsd.reporter import Reporter
    from gunicorn_backlog.scoreboard.server_info import ServerInfo

T = TypeVar("T")

_RUNNING, _HOOKS_REMOVED = "running", "hooks removed"  # kinds of lines
RELOAD_WITHOUT_FORK_S = (
    10.0  # gunicorn may import a preloaded app between the new config and the first fork
)


class Pipeline:
    """Samples, and pushes; nobody calls it while somebody else does, see ``monitor``."""

    def __init__(self, arbiter: Arbiter, notices: OnceLogger) -> None:
        self.settings = Settings(enabled=False)
        self.looks_up = False  # whether the Agent's name is ever looked up
        self._arbiter = arbiter
        self._notices = notices
        self._cfg: Config | None = None
        self._has_our_hooks = self._hooks_removed = False
        self._late_s: float | None = None
        self._scoreboard: Scoreboard | None = None
        self._sampler: Sampler | None = None
        self._reporter: Reporter | None = None
        self._window = Window()
        self._entered: Worker | None = None  # in the worker's own process

    def load(self) -> Settings:
        """Return what the arbiter's config and the environment say. Raises ConfigError.

        Whatever else breaks it off, a signal's handler say: the next call loads the same again.
        """
        cfg = self._arbiter.cfg
        try:
            settings = load(cfg, configured.values)
        except ConfigError:
            self._taken(cfg)
            raise
        self._taken(cfg)
        return settings

    def _taken(self, cfg: Config) -> None:
        configured.taken()
        self._cfg, self._late_s = cfg, None
        self._has_our_hooks = gunicorn.hooks_of(cfg).has_ours

    def is_outdated(self) -> bool:
        """Tell whether the arbiter has loaded another config since."""
        return self._arbiter.cfg is not self._cfg

    def reload_overdue(self) -> bool:
        """Tell whether there has been a new config for RELOAD_WITHOUT_FORK_S, and no fork at which
        to take it up.

        So it is if there are no workers, and if the fork did not get the gate.
        """
        if self._arbiter.cfg is self._cfg:  # not by a call: after a sleep each takes microseconds
            return False
        if self._late_s is None:
            self._late_s = time.monotonic() + RELOAD_WITHOUT_FORK_S
        return time.monotonic() >= self._late_s

    def reload_settings(self) -> Settings | None:
        """Return the settings of a config that was loaded since; None if there is no good one."""
        if not self.is_outdated():
            return None
        self._notices.reloaded()
        self._notices.reset("config")
        had_our_hooks = self._has_our_hooks or self._hooks_removed
        try:
            settings = self.load()
        except ConfigError as error:
            wrong = str(error).removeprefix("gunicorn_backlog: ")
            text = f"{wrong}; the former settings stay in force"
            self._notices.warn("config", text, until_reset=True)
            return None
        self._hooks_removed = self._were_removed(had_our_hooks)
        return self._without_hooks(settings) if self._hooks_removed else settings

    def _were_removed(self, had_our_hooks: bool) -> bool:
        """Return whether the hooks of the config in force can't reach us any more.

        A hook of the user's own may call ours. gunicorn's own ``post_worker_init`` does not.
        """
        assert self._cfg is not None
        hooks = gunicorn.hooks_of(self._cfg)
        if hooks.has_ours or not hooks.post_worker_init_is_default:
            return False
        return had_our_hooks or hooks.when_ready_is_default

    def _without_hooks(self, settings: Settings) -> Settings:
        if self.settings.enabled:
            self._notices.warn(
                _HOOKS_REMOVED,
                "a reload removed the hooks from the config: nothing is pushed until a reload "
                "finds them again",
                until_reset=True,
            )
        return settings._replace(enabled=False)

    def apply_settings(self, settings: Settings, forked: int, *, anew: bool) -> None:
        """Put the settings in force.

        The interval under way goes on if they leave its pace: else HUPs that follow each other
        faster than an interval lasts would put the push off for as long as they do.

        :param forked: the workers that were forked before, under other settings.
        :param anew: whether nothing was sampled since.
        """
        former, self.settings = self.settings, settings
        self._notices.warn_of_all("unusable", [f"{it}; passed over" for it in settings.unusable])
        if not settings.enabled:
            if not self._notices.was_logged(_HOOKS_REMOVED):
                self._notices.inform(_RUNNING, server_info.SWITCHED_OFF, lasting=True)
            return
        self._notices.reset(_HOOKS_REMOVED)
        clashes = gunicorn.pushes_backlog(self._arbiter.cfg)
        texts = [f"{own_metric.clash(settings.backlog_type)}; {own_metric.REMEDY}"]
        self._notices.warn_of_all("own metric", texts if clashes else [])
        self._redirect(settings)
        registry.prepare(self._arbiter)
        if self._scoreboard is None or self._sampler is None:
            self._sampler = Sampler(self._arbiter, self._create_scoreboard(), self._notices)
            self._sampler.begin(forked)
        if anew:
            self._window = Window(forked)
            self._sampler.begin(forked)
        elif settings.pace != former.pace:
            self._window.discard()

    def prepare(self) -> None:
        """Find out where the Agent is, some time before the first push."""
        if self._reporter is not None:
            self._reporter.prepare()

    def sample(self) -> None:
        """Look at everything once."""
        assert self._sampler is not None
        self._window.add(self._sampler.sample())

    def push(self, *, stopping: bool = False) -> None:
        """Send what the samples since the last push come to."""
        assert self._reporter is not None
        assert self._sampler is not None
        dropped = self._asked("counting drops", self._sampler.dropped)
        waits = self._asked("adding up waits", self._sampler.waits)
        interval = self._window.close(dropped or {}, waits)
        if interval is not None:
            app, bind = self._arbiter.proc_name, self._sampler.bind
            self._reporter.deliver(interval, app, bind, stopping=stopping)

    def _asked(self, what: str, question: Callable[[], T]) -> T | None:
        """Return the answer; without one the interval is over all the same."""
        try:
            return question()
        except Exception as error:
            self._notices.exception(what, error)
            return None

    def publish_server_info(self) -> None:
        """Say in the shared memory what this server is, and what could not be done."""
        about = self._about()
        if self._scoreboard is not None and about is not None:
            self._scoreboard.publish(about)

    def _about(self) -> ServerInfo | None:
        if self._sampler is None or self._reporter is None:
            return None
        return server_info.about(
            self._arbiter,
            self.settings,
            self._sampler,
            agent_error=self._reporter.error,
            warnings=self._notices.warnings,
        )

    def announce(self) -> None:
        """Log what runs, once; after a reload only if that has changed."""
        about = self._about()
        if about is not None:
            line = server_info.startup_line(about, self._arbiter.cfg.workers)
            self._notices.inform(_RUNNING, line, lasting=True)

    def before_fork(self, until_s: float) -> None:
        """Let a look-up of the Agent's name end, until then or for some milliseconds."""
        if self._reporter is not None:
            self._reporter.before_fork(until_s)

    def after_fork_in_child(self) -> None:
        """Leave a worker no socket; and a worker's child no slot, for it did not claim one."""
        if self._scoreboard is not None:
            self._scoreboard.detach()
        if self._reporter is not None:
            self._reporter.close()

    def instrument_worker(self, worker: Worker) -> None:
        """In a new worker's process: claim its slot, and watch the worker, once."""
        if not self.settings.enabled or self._scoreboard is None or self._entered is worker:
            return
        self._entered = worker
        try:
            registry.instrument(worker, self._scoreboard)
        except ClaimError as error:
            self._notices.warn("unwatched", f"worker {worker.pid} is not watched: {error}")

    def _redirect(self, settings: Settings) -> None:
        # Imports datadog: not while gunicorn reads its config, not if we are disabled, and not in
        # our thread, for a fork would leave the module half imported in the worker.
        from gunicorn_backlog.dogstatsd.reporter import Reporter

        former = self._reporter
        if former is not None:
            former.close()
        self._reporter = Reporter(settings, self._notices, former=former)
        self.looks_up = not is_local(settings.address)

    def _create_scoreboard(self) -> Scoreboard | None:
        try:
            self._scoreboard = Scoreboard()
            self._notices.reset("scoreboard")
        except (OSError, ValueError) as error:
            self._notices.warn(
                "scoreboard",
                f"no shared memory ({error}): workers are counted, their states and requests "
                "in flight are not sent; a reload tries again",
                until_reset=True,
            )
        return self._scoreboard
