"""From an interval's totals to the Agent, and what the log says of the way there."""

from __future__ import annotations

from gunicorn_backlog import metrics
from gunicorn_backlog.address import DISABLED
from gunicorn_backlog.dogstatsd import QUEUE_FULL, Agent
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.settings import Settings
from gunicorn_backlog.window import Interval

BACK_AFTER = 3  # pushes


class Delivery:
    """Delivers intervals; says once when the Agent goes, and once when it is back.

    It is back when a few pushes in a row met no error, so that one which comes and goes with each
    push does not fill the log.
    """

    def __init__(
        self, settings: Settings, notices: Notices, *, former: Delivery | None = None
    ) -> None:
        self._settings = settings
        self._notices = notices
        self._agent: Agent = Agent(settings, former=former._agent if former else None)
        self._good_pushes = 0
        if former is not None and former._settings.address != settings.address:
            notices.forget("full")  # that was another Agent

    @property
    def error(self) -> str:
        """Why the latest push may not have arrived; empty: nothing is known against it."""
        return (self._agent.error or "") if self._agent.enabled else DISABLED

    def prepare(self) -> None:
        """Find out where the Agent is, some time before the first push. Never waits."""
        self._agent.prepare()

    def deliver(self, interval: Interval, app: str, bind: str, *, stopping: bool = False) -> None:
        """Push one interval's points. Never waits."""
        points = metrics.points(
            interval,
            app=app,
            bind=bind,
            backlog_type=self._settings.backlog_type,
            stopping=stopping,
        )
        self._agent.push(points)
        self._good_pushes = self._good_pushes + 1 if self._agent.error is None else 0
        if self._agent.error == QUEUE_FULL:
            self._say_it_is_slow()
        elif self._agent.error is not None:
            self._say_it_is_away(self._agent.error)
        elif self._good_pushes >= BACK_AFTER and self._notices.was_said("away"):
            self._say_it_is_back()

    def before_fork(self, until_s: float) -> None:
        """Let a look-up of the Agent's name end, until then or for some milliseconds."""
        self._agent.before_fork(until_s)

    def close(self) -> None:
        """Close the socket."""
        self._agent.close()

    def _say_it_is_slow(self) -> None:
        self._notices.warn(
            "full",
            f"the Agent at {self._agent.address} does not read as fast as it is sent to: "
            "metrics are dropped whenever its queue is full; this is not said again",
        )

    def _say_it_is_away(self, reason: str) -> None:
        self._notices.warn(
            "away",
            f"the Agent at {self._agent.address} does not take metrics: {reason}; "
            "they are dropped until it does",
            lasting=True,
        )
        self._notices.forget("back")

    def _say_it_is_back(self) -> None:
        self._notices.inform("back", f"the Agent at {self._agent.address} takes metrics again")
        self._notices.forget("away")
