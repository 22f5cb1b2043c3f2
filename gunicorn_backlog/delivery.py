"""From an interval's totals to the Agent, and what the log says of the way there."""

from __future__ import annotations

import time

from gunicorn_backlog import metrics
from gunicorn_backlog.dogstatsd import Agent
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.settings import Settings
from gunicorn_backlog.window import Interval


class Delivery:
    """Delivers intervals; says once when the Agent goes, and once when it is back."""

    def __init__(self, settings: Settings, notices: Notices) -> None:
        self._settings = settings
        self._notices = notices
        self._agent = Agent(settings)

    def prepare(self) -> None:
        """Look up the Agent's name where that is due. May wait for the resolver."""
        self._agent.resolve(time.monotonic())

    def deliver(self, interval: Interval, app: str, *, stopping: bool = False) -> None:
        """Push one interval's points. Never waits."""
        backlog_type = self._settings.backlog_type
        points = metrics.points(interval, app=app, backlog_type=backlog_type, stopping=stopping)
        self._agent.push(points)
        if self._agent.error is None:
            self._say_it_is_back()
        else:
            self._say_it_is_away(self._agent.error)

    def close(self) -> None:
        """Close the socket."""
        self._agent.close()

    def _say_it_is_away(self, reason: str) -> None:
        self._notices.warn(
            "away",
            f"the Agent at {self._agent.address} does not take metrics: {reason}; "
            "they are dropped until it does",
        )
        self._notices.forget("back")

    def _say_it_is_back(self) -> None:
        if self._notices.was_said("away"):
            self._notices.inform("back", f"the Agent at {self._agent.address} takes metrics again")
            self._notices.forget("away")
