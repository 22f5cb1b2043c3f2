"""From an interval's totals to the Agent, and what the log says of the way there."""

from __future__ import annotations

from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd.client import QUEUE_FULL, AgentClient
from gunicorn_backlog.dogstatsd.payloads import LONGEST
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.metrics import points as metrics
from gunicorn_backlog.sampling.window import IntervalSummary

BACK_AFTER = 3  # pushes


class Reporter:
    """Delivers intervals; says once when the Agent goes, and once when it is back.

    It is back when a few pushes in a row met no error, so that one which comes and goes with each
    push does not fill the log.
    """

    def __init__(
        self, settings: Settings, notices: OnceLogger, *, former: Reporter | None = None
    ) -> None:
        self._settings = settings
        self._notices = notices
        self._agent: AgentClient = AgentClient(settings, former=former._agent if former else None)
        self._good_pushes = 0
        if former is not None and former._settings.address != settings.address:
            notices.reset("full")  # that was another Agent
        if former is not None and _tags(former._settings) != _tags(settings):
            notices.reset("too long")

        if self._agent.enabled and self._agent.may_share_series:
            self._say_that_series_may_collide()

    @property
    def error(self) -> str:
        """Why the latest push may not have arrived; empty: nothing is known against it."""
        return (self._agent.error or "") if self._agent.enabled else DISABLED

    def prepare(self) -> None:
        """Find out where the Agent is, some time before the first push. Never waits."""
        self._agent.prepare()

    def deliver(
        self, interval: IntervalSummary, app: str, bind: str, *, stopping: bool = False
    ) -> None:
        """Push one interval's points. Never waits."""
        points = metrics.points(
            interval,
            app=app,
            bind=bind,
            backlog_type=self._settings.backlog_type,
            stopping=stopping,
        )
        self._agent.push(points)
        if self._agent.left_out:
            self._say_some_are_too_long(self._agent.left_out, len(points))
        self._good_pushes = self._good_pushes + 1 if self._agent.error is None else 0
        if self._agent.error == QUEUE_FULL:
            self._say_it_is_slow()
        elif self._agent.error is not None:
            self._say_it_is_away(self._agent.error)
        elif self._good_pushes >= BACK_AFTER and self._notices.was_logged("away"):
            self._say_it_is_back()

    def before_fork(self, until_s: float) -> None:
        """Let a look-up of the Agent's name end, until then or for some milliseconds."""
        self._agent.before_fork(until_s)

    def close(self) -> None:
        """Close the socket."""
        self._agent.close()

    def _say_that_series_may_collide(self) -> None:
        self._notices.warn(
            "origin",
            "no tag names this pod, and UDP does not show it to the Agent: pods with the same bind "
            "push the same series, and the Agent keeps the last value; set DD_ENTITY_ID, add a tag "
            "pod_name or host, or push to the Agent's Unix socket",
            until_reset=True,
        )

    def _say_some_are_too_long(self, left_out: int, points: int) -> None:
        self._notices.warn(
            "too long",
            f"{left_out} of {points} metrics are not sent: with their tags each is longer than "
            f"the {LONGEST} bytes that an Agent accepts; use fewer or shorter tags: DD_TAGS, "
            "DATADOG_TAGS, dogstatsd_tags, GUNICORN_BACKLOG_TAGS or configure(tags=...)",
        )

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
            until_reset=True,
        )
        self._notices.reset("back")

    def _say_it_is_back(self) -> None:
        self._notices.inform("back", f"the Agent at {self._agent.address} takes metrics again")
        self._notices.reset("away")


def _tags(settings: Settings) -> tuple[str, ...]:
    return settings.tags + settings.inherited_tags
