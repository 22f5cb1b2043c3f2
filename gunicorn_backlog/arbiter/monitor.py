"""The monitor of one arbiter: entry points for the hooks, fork handlers, and the thread.

The thread holds the fork gate during each step. The thread that forks, as a rule the arbiter's main
thread, holds the gate from ``_before_fork`` until the parent's side of the fork releases it.
Settings change with the gate held, or before the thread starts.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from gunicorn_backlog._threads.unpatched import Event, original
from gunicorn_backlog.arbiter.fork_gate import WAIT_S, ForkGate
from gunicorn_backlog.arbiter.pipeline import Pipeline
from gunicorn_backlog.arbiter.reload import Reloader
from gunicorn_backlog.arbiter.schedule import Schedule
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.log import OnceLogger, log_errors
from gunicorn_backlog.scoreboard.allocation import ClaimError
from gunicorn_backlog.workers import registry

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Worker

LAST_PUSH_S = 0.1  # longest time that a shutdown waits for the last push


class Monitor:
    """Monitors one arbiter, from ``when_ready`` to ``on_exit``.

    The public methods run in the main thread of the arbiter; ``instrument_worker`` in a worker's.
    None of them takes the gate. ``_reload`` runs in the thread that forks or in our thread; its
    caller holds the gate.
    """

    def __init__(self, arbiter: Arbiter, logger: OnceLogger | None = None) -> None:
        self._arbiter = arbiter
        self._logger = logger or OnceLogger()
        self._pipeline = Pipeline(arbiter, self._logger)
        self._reloader = Reloader(arbiter, self._pipeline, self._logger)
        self._pid = os.getpid()
        self._gate = ForkGate()
        self._stop = Event()
        self._ended = Event()  # of the latest thread
        self._ended.set()
        self._instrumented: Worker | None = None  # in the worker's own process

    def start(self) -> None:
        """Load the settings, and start the thread unless they disable it. Raises ConfigError."""
        settings = self._reloader.load()
        # Registered first, so that a HUP retries if memory or a thread is missing below.
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._gate.after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )
        self._reloader.apply(settings, self._arbiter.worker_age, restart=True)
        self._start_thread_if_enabled()
        _promote_to_old_generation()

    def stop(self) -> None:
        """End the thread after a last push; wait at most LAST_PUSH_S."""
        self._stop.set()
        if os.getpid() == self._pid:
            self._ended.wait(LAST_PUSH_S)

    def instrument_worker(self, worker: Worker) -> None:
        """Allocate a slot for a worker, and instrument the worker. A second call does nothing.

        Called in the worker's process. Without a free slot a warning is logged.
        """
        settings = self._pipeline.settings
        scoreboard = self._pipeline.scoreboard if settings.enabled else None
        if scoreboard is None or self._instrumented is worker:
            return
        self._instrumented = worker
        try:
            registry.instrument(worker, scoreboard, exposes=settings.request_wait)
        except ClaimError as error:
            self._logger.warn(
                "not instrumented", f"worker {worker.pid} is not instrumented: {error}"
            )

    # Fork handlers, in the thread that forks: as a rule the arbiter's main thread.

    def _before_fork(self) -> None:
        """Stop the thread between two steps, and apply a config that gunicorn has loaded.

        Touches few objects: the previous fork made the arbiter's pages copy-on-write, and each
        page fault takes longer than the rest of this function.
        """
        until_s = time.monotonic() + WAIT_S
        if os.getpid() == self._pid and not self._stop.is_set() and self._gate.before_fork():
            if self._pipeline.resolves_names:
                look_up = partial(self._pipeline.wait_for_look_up, until_s)
                log_errors(self._logger, "waiting for a look-up", look_up)
            if self._reloader.is_outdated():
                # gunicorn counts a worker before its fork.
                reload = partial(self._reload, uncounted=1)
                log_errors(self._logger, "applying the new config", reload)

    def _after_fork_in_child(self) -> None:
        """Detach a worker from the thread's lock and socket, and a worker's child from its slot."""
        self._gate.after_fork_in_child()
        log_errors(self._logger, "cleaning up a fork", self._pipeline.after_fork_in_child)

    # With the gate held.

    def _reload(self, *, uncounted: int = 0) -> None:
        """Apply the arbiter's config if it is new (``reload.py``); start a thread if none runs.

        :param uncounted: workers that gunicorn has counted but not yet forked.
        """
        forked, restart = self._arbiter.worker_age - uncounted, self._ended.is_set()
        if self._reloader.reload(forked, restart=restart) and restart:
            self._start_thread_if_enabled()

    def _start_thread_if_enabled(self) -> None:
        if not self._pipeline.settings.enabled:
            return
        try:
            self._start_thread()
            self._logger.reset("thread")
        except RuntimeError as error:
            text = f"{error}: nothing is sent; a reload tries again"
            self._logger.warn("thread", text, until_reset=True)
            publish = self._pipeline.publish_server_info
            log_errors(self._logger, "publishing the server info", publish)

    def _start_thread(self) -> None:
        """Start an OS thread that blocks every signal. Raises RuntimeError.

        The kernel may deliver a process's signal to any thread that does not block the signal. In
        our thread the signal would not wake the arbiter from its sleep.
        """
        ended = Event()
        # Read the mask first: a handler that raises below must not leave all signals blocked.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            original("_thread", "start_new_thread")(self._run, (ended,))
            self._ended = ended
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    # The thread.

    def _run(self, ended: Event) -> None:
        try:
            self._loop(ended)
        finally:
            ended.set()

    def _loop(self, ended: Event) -> None:
        pipeline, logger, settings = self._pipeline, self._logger, self._begin()
        schedule = Schedule(settings.interval_s, settings.samples)
        while not self._stop.wait(schedule.wait_s()):
            with self._gate:
                if self._reloader.is_overdue():
                    log_errors(logger, "applying the new config", self._reload)
                if not pipeline.settings.enabled:
                    ended.set()  # with the gate held: a later HUP may start another thread
                    return
                log_errors(logger, "sampling", pipeline.sample)
                if settings.pace == pipeline.settings.pace and schedule.sampled():
                    log_errors(logger, "pushing", pipeline.push)
                    log_errors(logger, "publishing the server info", pipeline.publish_server_info)
            if settings is not pipeline.settings:
                former, settings = settings, self._begin()
                if settings.pace != former.pace:
                    schedule = Schedule(settings.interval_s, settings.samples)
        with self._gate:
            if pipeline.settings.enabled:
                log_errors(logger, "sampling", pipeline.sample)
                log_errors(logger, "the last push", partial(pipeline.push, stopping=True))

    def _begin(self) -> Settings:
        """Prepare for the settings in force, and return them."""
        with self._gate:
            log_errors(self._logger, "preparing the first push", self._pipeline.prepare)
            return self._pipeline.settings


def _promote_to_old_generation() -> None:
    """Move just-imported objects to the oldest GC generation.

    Otherwise the next young collection, soon after each fork, would write to all of these objects.
    Each page shared by the arbiter and its workers would be copied.
    """
    if gc.isenabled():
        gc.collect(1)
