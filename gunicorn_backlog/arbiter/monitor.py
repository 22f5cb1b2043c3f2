"""The arbiter's monitor: a thread that samples and pushes, and the forks beside it."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn
from gunicorn_backlog._threads.unpatched import Event, original
from gunicorn_backlog.arbiter.fork_gate import WAIT_S, ForkGate
from gunicorn_backlog.arbiter.pipeline import Pipeline
from gunicorn_backlog.arbiter.schedule import Schedule
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.log import OnceLogger

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Worker

LAST_PUSH_S = 0.1  # how long a shutdown may wait for the last push


class Monitor:
    """Watches one arbiter, from ``when_ready`` to ``on_exit``.

    All that the thread does it does inside the fork gate. The arbiter's main thread comes here to
    start it, to stop it, and around each fork; then it holds the gate. The settings and what they
    made are changed with the gate held only, or before there is a thread.
    """

    def __init__(self, arbiter: Arbiter, notices: OnceLogger | None = None) -> None:
        self._arbiter = arbiter
        self._notices = notices or OnceLogger()
        self._pipeline = Pipeline(arbiter, self._notices)
        self._pid = os.getpid()
        self._gate = ForkGate()
        self._stop = Event()
        self._ended = Event()  # of the latest thread
        self._ended.set()

    def start(self) -> None:
        """Load the settings and begin, if they say so. Raises ConfigError."""
        settings = self._pipeline.load()
        # First, so that a HUP tries again if there was no memory or no thread for what follows.
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._gate.after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )
        self._adopt(settings, _gunicorn.fork_count(self._arbiter))
        _promote_to_old_generation()

    def stop(self) -> None:
        """End the thread; wait for its last push no longer than LAST_PUSH_S."""
        self._stop.set()
        if os.getpid() == self._pid:
            self._ended.wait(LAST_PUSH_S)

    def instrument_worker(self, worker: Worker) -> None:
        """In a new worker's process: watch it."""
        self._pipeline.instrument_worker(worker)

    # Around forks, in the thread that forks: as a rule the arbiter's main thread.

    def _before_fork(self) -> None:
        """Stop the thread between two steps, and take up a config that was loaded since.

        HUP forks the new workers after it set all that the new config says, ``raw_env`` included,
        and before it can load another: here what ``configure()`` was told and the environment
        belong to the config in force, without a doubt. The thread can't know that, and takes up
        only what nobody took up for long.

        Since the fork before this one the arbiter's pages are copied when they are written to: each
        object touched here may be a page fault, which takes longer than all else that is done.
        """
        until_s = time.monotonic() + WAIT_S
        if os.getpid() == self._pid and not self._stop.is_set() and self._gate.before_fork():
            if self._pipeline.looks_up:
                self._log_errors(
                    "waiting for a look-up", partial(self._pipeline.before_fork, until_s)
                )
            if self._pipeline.is_outdated():
                # gunicorn has counted the worker that it is about to fork.
                self._log_errors("taking up the new config", partial(self._reload, uncounted=1))

    def _after_fork_in_child(self) -> None:
        """Leave nothing of the thread in a worker, or of a worker in its own child."""
        self._gate.after_fork_in_child()
        self._log_errors("leaving a worker alone", self._pipeline.after_fork_in_child)

    # Inside the gate.

    def _reload(self, *, uncounted: int = 0) -> None:
        """Take up the arbiter's config, if it is another one than last time."""
        settings = self._pipeline.reload_settings()
        if settings is not None:
            self._adopt(settings, _gunicorn.fork_count(self._arbiter) - uncounted)

    def _adopt(self, settings: Settings, forked: int) -> None:
        """Put the settings in force; see that there is a thread if they want one."""
        anew = self._ended.is_set()
        self._pipeline.apply_settings(settings, forked, anew=anew)
        self._log_errors("telling of the server", self._pipeline.publish_server_info)
        if settings.enabled:
            self._log_errors("logging what runs", self._pipeline.announce)
            if anew:
                self._start_thread()

    def _start_thread(self) -> None:
        """Start a thread of the operating system that no signal is ever delivered to.

        A signal that the kernel gave to it would not wake the arbiter from its sleep.
        """
        ended = Event()
        # Asked for first: a handler that raises while all are blocked must not leave them so.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            original("_thread", "start_new_thread")(self._run, (ended,))
            self._ended = ended
            self._notices.reset("thread")
        except RuntimeError as error:
            text = f"{error}: nothing is sent; a reload tries again"
            self._notices.warn("thread", text, until_reset=True)
            self._log_errors("telling of the server", self._pipeline.publish_server_info)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _log_errors(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._notices.exception(what, error)

    # The thread.

    def _run(self, ended: Event) -> None:
        try:
            self._loop(ended)
        finally:
            ended.set()

    def _loop(self, ended: Event) -> None:
        pipeline, settings = self._pipeline, self._begin()
        schedule = _scheduled(settings)
        while not self._stop.wait(schedule.wait_s()):
            with self._gate:
                if pipeline.reload_overdue():
                    self._log_errors("taking up the new config", self._reload)
                if not pipeline.settings.enabled:
                    ended.set()  # in the gate: a HUP that enables then starts another thread
                    return
                try:
                    pipeline.sample()
                except Exception as error:
                    self._notices.exception("sampling", error)
                if settings.pace == pipeline.settings.pace and schedule.sampled():
                    self._log_errors("pushing", pipeline.push)
                    self._log_errors("telling of the server", pipeline.publish_server_info)
            if settings is not pipeline.settings:
                former, settings = settings, self._begin()
                if settings.pace != former.pace:
                    schedule = _scheduled(settings)
        with self._gate:
            if pipeline.settings.enabled:
                self._log_errors("sampling", pipeline.sample)
                self._log_errors("the last push", lambda: pipeline.push(stopping=True))

    def _begin(self) -> Settings:
        """Begin with the settings in force."""
        with self._gate:
            self._log_errors("preparing", self._pipeline.prepare)
            return self._pipeline.settings


def _promote_to_old_generation() -> None:
    """Have the garbage collector take what was just imported for old.

    The next collection of what is young, soon after each fork, would write to all of that, in the
    arbiter and in each worker: of each page that they share there would be a copy more.
    """
    if gc.isenabled():
        gc.collect(1)


def _scheduled(settings: Settings) -> Schedule:
    return Schedule(settings.interval_s, settings.samples)
