"""Push the points of each interval to the Agent, and log when the Agent becomes unreachable."""

from __future__ import annotations

from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd.client import QUEUE_FULL, AgentClient
from gunicorn_backlog.dogstatsd.payloads import MAX_BYTES
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.metrics.points import interval_points
from gunicorn_backlog.sampling.window import IntervalSummary

BACK_AFTER = 3  # pushes


class Reporter:
    """Pushes intervals; logs once that the Agent is unreachable, and once that the Agent is back.

    The Agent is back after BACK_AFTER pushes in a row without an error. Otherwise an error in every
    second push would fill the log.

    agent: the client of the Agent.
    """

    def __init__(
        self, settings: Settings, logger: OnceLogger, *, former: Reporter | None = None
    ) -> None:
        """Connect to nothing yet, and log nothing that ``former`` has logged.

        :param former: the reporter before a reload.
        """
        self._settings = settings
        self._logger = logger
        self.agent: AgentClient = AgentClient(settings, former=former.agent if former else None)
        self._good_pushes = 0
        if former is not None and former._settings.address != settings.address:
            logger.reset("full")  # logged for another Agent
        if former is not None and _tags(former._settings) != _tags(settings):
            logger.reset("too long")
        if self.agent.enabled and self.agent.may_share_series:
            self._warn_of_shared_series()
        else:
            logger.reset("origin")

    @property
    def error(self) -> str:
        """The reason why the latest push may not have arrived; empty without an error."""
        return (self.agent.error or "") if self.agent.enabled else DISABLED

    def deliver(
        self, interval: IntervalSummary, app: str, bind: str, *, stopping: bool = False
    ) -> None:
        """Push one interval's points, and log the outcome. Never waits.

        :param app: value of the tag ``app``.
        :param bind: value of the tag ``bind``; empty: no tag.
        :param stopping: this is the last push of a shutdown.
        """
        points = interval_points(
            interval,
            app=app,
            bind=bind,
            backlog_type=self._settings.backlog_type,
            groups=self._settings.metrics,
            stopping=stopping,
        )
        self.agent.push(points)
        if self.agent.left_out:
            self._warn_of_long_points(self.agent.left_out, len(points))
        self._log_outcome(self.agent.error)

    def _log_outcome(self, error: str | None) -> None:
        self._good_pushes = self._good_pushes + 1 if error is None else 0
        if error == QUEUE_FULL:
            self._warn_of_full_queue()
        elif error is not None:
            self._warn_of_unreachable_agent(error)
        elif self._good_pushes >= BACK_AFTER and self._logger.was_logged("away"):
            text = f"the Agent at {self.agent.address} accepts metrics again"
            self._logger.inform("back", text)
            self._logger.reset("away")

    def _warn_of_shared_series(self) -> None:
        self._logger.warn(
            "origin",
            "no tag names this pod, and UDP does not identify the sender: pods with the same bind "
            "push the same series, and the Agent keeps the last value; set DD_ENTITY_ID, add "
            "a tag pod_name or host, or push to the Agent's Unix socket",
            until_reset=True,
        )

    def _warn_of_long_points(self, left_out: int, points: int) -> None:
        self._logger.warn(
            "too long",
            f"{left_out} of {points} metrics are not sent: with their tags each is longer than "
            f"the {MAX_BYTES} bytes that an Agent accepts; use fewer or shorter tags: DD_TAGS, "
            "DATADOG_TAGS, dogstatsd_tags, GUNICORN_BACKLOG_TAGS or configure(tags=...)",
        )

    def _warn_of_full_queue(self) -> None:
        self._logger.warn(
            "full",
            f"the Agent at {self.agent.address} does not read as fast as metrics are sent: "
            "metrics are dropped while its queue is full; this warning is not repeated",
        )

    def _warn_of_unreachable_agent(self, error: str) -> None:
        self._logger.warn(
            "away",
            f"the Agent at {self.agent.address} does not accept metrics: {error}; "
            "metrics are dropped until the Agent accepts them",
            until_reset=True,
        )
        self._logger.reset("back")


def _tags(settings: Settings) -> tuple[str, ...]:
    return settings.tags + settings.inherited_tags
