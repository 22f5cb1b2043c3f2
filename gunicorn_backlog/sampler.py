"""One look at the whole server: its listeners and its workers."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_backlog import listeners, workers
from gunicorn_backlog.arbiter import Arbiter
from gunicorn_backlog.listeners import Backlog, Unreadable
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.roster import Crew, Roster
from gunicorn_backlog.scoreboard import Kind, Scoreboard, State
from gunicorn_backlog.window import Sample

# gunicorn kills a worker that has not come up within its timeout: one that lives on has.
BOOT_SPARE_S = 5
BOOT_LIMIT_WITHOUT_TIMEOUT_S = 60


class Sampler:
    """Samples one arbiter, and says once what it can't see."""

    def __init__(self, arbiter: Arbiter, scoreboard: Scoreboard | None, notices: Notices) -> None:
        self._arbiter = arbiter
        self._scoreboard = scoreboard
        self._notices = notices
        self._roster = Roster()

    def sample(self) -> Sample:
        """Look at everything once."""
        return Sample(tuple(self._backlogs()), self._crew(), workers.forked(self._arbiter))

    def _backlogs(self) -> Iterator[Backlog]:
        for reading in listeners.read(self._arbiter):
            if isinstance(reading, Unreadable):
                self._notices.warn(
                    f"listener {reading.listener}",
                    f"the backlog of {reading.listener} can't be read: {reading.reason}; "
                    "it is not reported, all else is",
                )
            else:
                yield reading

    def _crew(self) -> Crew | None:
        running = workers.running(self._arbiter)
        if self._scoreboard is None:
            return Crew(0, 0, 0, len(running), None)
        states = self._scoreboard.read(running)
        timeout_s = self._arbiter.cfg.timeout
        boot_limit_s = timeout_s + BOOT_SPARE_S if timeout_s else BOOT_LIMIT_WITHOUT_TIMEOUT_S
        crew = self._roster.count(running, states, boot_limit_s)
        self._say_what_is_unknown(states, boot_limit_s)
        return crew

    def _say_what_is_unknown(self, states: dict[int, State | None], boot_limit_s: float) -> None:
        if self._roster.overdue:
            self._notices.warn(
                "no slot",
                f"{self._roster.overdue} workers run for {boot_limit_s} s and never reported: "
                "states and requests in flight are not sent. If the config has a "
                "post_worker_init of its own, let it call "
                "gunicorn_backlog.hooks.post_worker_init(worker)",
            )
        if any(state and state.kind == Kind.UNKNOWN for state in states.values()):
            self._notices.warn(
                "unknown class",
                f"the worker class {self._arbiter.cfg.worker_class_str} is not known: its workers "
                "are counted, their states and requests in flight are not sent",
            )
