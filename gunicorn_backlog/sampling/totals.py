"""The workers' cumulative counters: what they grew by since the previous push."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.loops import delay_summary
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.wait_histogram import CounterDelta, CounterError, WaitSummary
from gunicorn_backlog.scoreboard.worker_row import WorkerRow


class Totals:
    """The differences of all counters between two pushes; an impossible one is logged once."""

    def __init__(self, reader: Reader, logger: OnceLogger) -> None:
        """Start from the present counters."""
        self._reader = reader
        self._logger = logger
        self._waits = CounterDelta(reader.waits())
        self._delays = CounterDelta(reader.delays())
        self._begun = CounterDelta((reader.begun(),), "the number of requests")

    def waits(self, *, measured: bool, from_header: bool) -> WaitSummary | None:
        """Return the waits of the requests since the last call; None: not measured.

        For the parameters see ``CounterDelta.update``.
        """
        counters = self._reader.waits()
        try:
            return self._waits.update(counters, measured=measured, from_header=from_header)
        except CounterError as error:
            self._logger.warn("waits", f"{error}: the waits of this interval are not sent")
            return None

    def delays(self, rows: Mapping[int, WorkerRow]) -> WaitSummary | None:
        """Return the delays of the event loops since the last call; None: not measured.

        :param rows: of the latest sample, by pid; empty: not read. Then the next call with rows
            includes the delays of this interval.
        """
        if not rows:
            return None
        try:
            since = self._delays.difference(self._reader.delays())
        except CounterError as error:
            self._logger.warn("delays", f"{error}: the delays of this interval are not sent")
            return None
        return delay_summary(since, rows, time.monotonic_ns())

    def begun(self) -> int | None:
        """Return the requests handed to the app since the last call; None: not known."""
        try:
            return sum(self._begun.difference((self._reader.begun(),)))
        except CounterError as error:
            self._logger.warn("begun", f"{error}: the requests begun in this interval are not sent")
            return None
