"""A WSGI app behind another server than gunicorn's, for example tornado's container.

These servers call no method of the worker for a request: the app itself is wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.workers.app_proxy import AppProxy, before_run
from gunicorn_backlog.workers.in_flight import InFlight

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import WSGIWorker

WSGIApp = Callable[..., Any]


def instrument(worker: WSGIWorker, slot: Slot) -> None:
    """Wrap the app right before the worker passes the app to its server."""
    in_flight = InFlight(slot)

    def wrap() -> None:
        worker.wsgi = AppProxy(worker.wsgi, counted(worker.wsgi, in_flight))

    before_run(worker, wrap)


def counted(app: WSGIApp, in_flight: InFlight) -> WSGIApp:
    """Return the app; a request is in flight from the call until the answer is closed."""

    def app_counted(*args: Any) -> Any:
        number = in_flight.begin()
        try:
            answer, end = app(*args), partial(in_flight.end, number)
            return (SizedAnswer if isinstance(answer, Sized) else Answer)(answer, end)
        except BaseException:
            in_flight.end(number)
            raise

    return app_counted


class Answer:
    """An app's answer that calls ``end`` once on ``close``, which PEP 3333 requires of servers."""

    def __init__(self, answer: Any, end: Callable[[], None]) -> None:
        self._answer = answer
        self._end: Callable[[], None] | None = end

    def __iter__(self) -> Iterator[bytes]:
        """Return a new iterator of the app's answer."""
        return iter(self._answer)

    def close(self) -> None:
        """Close the app's answer if possible, and end the request."""
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            end, self._end = self._end, None
            if end is not None:
                end()


class SizedAnswer(Answer):
    """An answer with a length, from which servers derive a Content-Length."""

    _answer: Any

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self._answer)
