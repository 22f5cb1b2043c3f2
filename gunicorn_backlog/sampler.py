"""One look at the whole server: its listeners and its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn_backlog import workers
from gunicorn_backlog.accept_queue import AcceptQueue
from gunicorn_backlog.limits import Limits, somaxconn
from gunicorn_backlog.listeners import Listeners
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.roster import Crew, Roster
from gunicorn_backlog.scoreboard import Kind, Scoreboard, State
from gunicorn_backlog.window import Sample

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import Arbiter, Config

# gunicorn kills a worker that has not come up within its timeout: one that lives on has.
BOOT_SPARE_S = 5
BOOT_LIMIT_WITHOUT_TIMEOUT_S = 60


class Sampler:
    """Samples one arbiter, and says once what it can't see."""

    def __init__(self, arbiter: Arbiter, scoreboard: Scoreboard | None, notices: Notices) -> None:
        self.watched_after = 0  # the age of the youngest worker that could not know of us
        self._arbiter = arbiter
        self._scoreboard = scoreboard
        self._notices = notices
        self._listeners = Listeners(arbiter, notices)
        self._limits = Limits(notices)
        self._roster = Roster()
        self._cfg: Config | None = None
        self._asked = 0

    def sample(self) -> Sample:
        """Look at everything once."""
        if self._arbiter.cfg is not self._cfg:
            self._cfg = self._arbiter.cfg
            self._asked = self._cfg.backlog  # gunicorn looks a setting up in many steps
        queues = self._queues()
        self._limits.look(queues, self._asked)
        return Sample(queues, self._crew(), workers.forked(self._arbiter))

    def dropped(self) -> dict[str, int]:
        """Return the connections that each listener dropped since the last call."""
        return self._listeners.dropped()

    def _queues(self) -> dict[str, AcceptQueue]:
        """Read all queues, and leave out those that the kernel does not fill in."""
        queues = self._listeners.read()
        empty = [name for name, queue in queues.items() if not queue.limit and self._asked]
        for listener in empty if empty and somaxconn() != 0 else ():
            del queues[listener]
            self._notices.warn(
                f"no limit of {listener}",
                f"the backlog of {listener} can't be read (this kernel says that its limit is 0): "
                "not sent, all else is",
            )
        return queues

    def _crew(self) -> Crew | None:
        running = workers.running(self._arbiter)
        if self._scoreboard is None:
            return Crew(0, 0, 0, len(running), None)
        states = self._scoreboard.read(running)
        timeout_s = self._arbiter.cfg.timeout
        boot_limit_s = timeout_s + BOOT_SPARE_S if timeout_s else BOOT_LIMIT_WITHOUT_TIMEOUT_S
        crew = self._roster.count(running, states, boot_limit_s, self.watched_after)
        self._say_what_is_unknown(states, boot_limit_s)
        return crew

    def _say_what_is_unknown(self, states: dict[int, State | None], boot_limit_s: float) -> None:
        if self._roster.overdue:
            self._notices.warn(
                "no slot",
                f"{self._roster.overdue} workers have not reported after {boot_limit_s} s: "
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
