"""The arbiter's monitor: a thread that samples, and every interval pushes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from gunicorn_backlog import workers
from gunicorn_backlog.claims import ClaimError
from gunicorn_backlog.configuring import configured
from gunicorn_backlog.gate import ForkGate
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.sampler import Sampler
from gunicorn_backlog.schedule import Schedule
from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.settings import ConfigError, Settings, load
from gunicorn_backlog.unpatched import Event, original
from gunicorn_backlog.window import Window

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import Arbiter, Config, Worker
    from gunicorn_backlog.delivery import Delivery

LAST_PUSH_S = 0.1  # how long a shutdown may wait for the last push


class Monitor:
    """Watches one arbiter, from ``when_ready`` to ``on_exit``.

    All that the thread does it does inside the fork gate. The arbiter's main thread comes here to
    start it, to stop it, and around each fork; then it holds the gate. The settings and what they
    made are changed with the gate held only, or before there is a thread.
    """

    def __init__(self, arbiter: Arbiter, notices: Notices | None = None) -> None:
        self.settings = Settings(enabled=False)
        self._arbiter = arbiter
        self._notices = notices or Notices()
        self._pid = os.getpid()
        self._cfg: Config | None = None
        self._gate = ForkGate()
        self._scoreboard: Scoreboard | None = None
        self._sampler: Sampler | None = None
        self._delivery: Delivery | None = None
        self._window = Window()
        self._entered: Worker | None = None  # in the worker's own process
        self._stop = Event()
        self._ended = Event()  # of the latest thread
        self._ended.set()

    def start(self) -> None:
        """Load the settings and begin, if they say so. Raises ConfigError."""
        self._cfg = self._arbiter.cfg
        settings = load(self._cfg, configured.take())
        # First, so that a HUP tries again if there was no memory or no thread for what follows.
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )
        self._adopt(settings, workers.forked(self._arbiter))

    def stop(self) -> None:
        """End the thread; wait for its last push no longer than LAST_PUSH_S."""
        self._stop.set()
        if os.getpid() == self._pid:
            self._ended.wait(LAST_PUSH_S)

    def enter(self, worker: Worker) -> None:
        """In a new worker's process: claim its slots, and watch the worker, once."""
        if not self.settings.enabled or self._scoreboard is None or self._entered is worker:
            return
        self._entered = worker
        try:
            workers.enter(worker, self._scoreboard)
        except ClaimError as error:
            self._notices.warn("unwatched", f"worker {worker.pid} is not watched: {error}")

    # Around forks, in the thread that forks: as a rule the arbiter's main thread.

    def _before_fork(self) -> None:
        """Stop the thread between two steps, and take up a config that was loaded since.

        HUP forks the new workers after it set all that the new config says, ``raw_env`` included,
        and before it can load another: here what ``configure()`` was told and the environment
        belong to the config in force, without a doubt. The thread can't know that.
        """
        if os.getpid() == self._pid and not self._stop.is_set() and self._gate.before_fork():
            if self._delivery is not None:
                self._attempt("waiting for a look-up", self._delivery.before_fork)
            self._attempt("taking up the new config", self._reload)

    def _after_fork_in_parent(self) -> None:
        if os.getpid() == self._pid:
            self._gate.after_fork_in_parent()

    def _after_fork_in_child(self) -> None:
        """Leave nothing of the thread in a worker (its lock, its socket), or of a worker in its own
        child, which is not to write what its parent does."""
        self._gate.after_fork_in_child()
        if self._scoreboard is not None:
            self._scoreboard.mute()
        if self._delivery is not None:
            self._attempt("closing the socket in a worker", self._delivery.close)

    # Inside the gate.

    def _reload(self) -> None:
        """Take up the arbiter's config, if it is another one than last time."""
        if self._arbiter.cfg is self._cfg:
            return
        self._cfg = self._arbiter.cfg
        self._notices.reloaded()
        self._notices.forget("config")
        try:
            settings = load(self._cfg, configured.take())
        except ConfigError as error:
            wrong = str(error).removeprefix("gunicorn_backlog: ")
            self._notices.warn("config", f"{wrong}; the former settings stay in force")
        else:
            # gunicorn has counted the worker that it is about to fork.
            self._adopt(settings, workers.forked(self._arbiter) - 1)

    def _adopt(self, settings: Settings, forked: int) -> None:
        """Put the settings in force.

        The interval under way goes on if they leave its pace: else HUPs that follow each other
        faster than an interval lasts would put the push off for as long as they do.

        :param forked: the workers that were forked before, under other settings.
        """
        former, self.settings = self.settings, settings
        for number, text in enumerate(settings.unusable):
            self._notices.warn(f"unusable {number}", f"{text}; passed over")
        if not settings.enabled:
            return
        self._redirect(settings)
        workers.prepare(self._arbiter)
        if self._scoreboard is None or self._sampler is None:
            self._sampler = Sampler(self._arbiter, self._create_scoreboard(), self._notices)
            self._sampler.begin(forked)
        if self._ended.is_set():
            self._window = Window(forked)
            self._sampler.begin(forked)
            self._start_thread()
        elif settings.pace != former.pace:
            self._window.begin_anew()

    def _redirect(self, settings: Settings) -> None:
        # Imports datadog: not while gunicorn reads its config, not if we are disabled, and
        # not in our thread, for a fork would leave the module half imported in the worker.
        from gunicorn_backlog.delivery import Delivery

        former = self._delivery
        if former is not None:
            former.close()
        self._delivery = Delivery(settings, self._notices, former=former)

    def _create_scoreboard(self) -> Scoreboard | None:
        try:
            self._scoreboard = Scoreboard()
        except (OSError, ValueError) as error:
            self._notices.warn(
                "scoreboard",
                f"no shared memory ({error}): workers are counted, their states and requests "
                "in flight are not sent; a reload tries again",
            )
        return self._scoreboard

    def _start_thread(self) -> None:
        """Start a thread of the operating system that no signal is ever delivered to.

        A signal that the kernel gave to it would not wake the arbiter from its sleep.
        """
        ended = Event()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            original("_thread", "start_new_thread")(self._run, (ended,))
            self._ended = ended
        except RuntimeError as error:
            self._notices.warn("thread", f"{error}: nothing is sent; a reload tries again")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _sample(self) -> None:
        assert self._sampler is not None
        self._window.add(self._sampler.sample())

    def _push(self, *, stopping: bool = False) -> None:
        assert self._delivery is not None
        assert self._sampler is not None
        interval = self._window.close(self._sampler.dropped(), self._sampler.waits())
        if interval is not None:
            self._delivery.deliver(interval, self._arbiter.proc_name, stopping=stopping)

    def _attempt(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._notices.failed(what, error)

    # The thread.

    def _run(self, ended: Event) -> None:
        try:
            self._loop(ended)
        finally:
            ended.set()

    def _loop(self, ended: Event) -> None:
        settings = self._begin()
        schedule = _scheduled(settings)
        while not self._stop.wait(schedule.wait_s()):
            with self._gate:
                if not self.settings.enabled:
                    ended.set()  # in the gate: a HUP that enables then starts another thread
                    return
                self._attempt("sampling", self._sample)
                if settings.pace == self.settings.pace and schedule.sampled():
                    self._attempt("pushing", self._push)
            if settings is not self.settings:
                former, settings = settings, self._begin()
                if settings.pace != former.pace:
                    schedule = _scheduled(settings)
        with self._gate:
            if self.settings.enabled:
                self._attempt("sampling", self._sample)
                self._attempt("the last push", lambda: self._push(stopping=True))

    def _begin(self) -> Settings:
        """Begin with the settings in force."""
        with self._gate:
            if self._delivery is not None:
                self._attempt("preparing", self._delivery.prepare)
            return self.settings


def _scheduled(settings: Settings) -> Schedule:
    return Schedule(settings.interval_s, settings.samples)
