"""Event loops of asyncio: the selector's ``select``, which each iteration calls once.

``BaseEventLoop._run_once`` looks ``self._selector.select`` up on the instance, in Python 3.10 to
3.13.
"""

from __future__ import annotations

from typing import Any

from gunicorn_backlog.scoreboard.loop_row import LoopRow
from gunicorn_backlog.workers.loops.poll_timer import SelectTimer


def time_polls(loop: Any, row: LoopRow) -> SelectTimer | None:
    """Wrap the ``select`` of a loop's selector; None: the loop has no such selector."""
    selector = getattr(loop, "_selector", None)
    select = getattr(selector, "select", None)
    if not callable(select):
        return None
    get_map = getattr(selector, "get_map", tuple)  # the app's own selector may have none
    timer = SelectTimer(row, get_map())
    try:
        selector.select = timer.timed(select)  # type: ignore[union-attr]  # not None: it has select
    except AttributeError:  # the app's own selector, with __slots__
        return None
    return timer
