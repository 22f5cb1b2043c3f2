"""gevent's hub: libev's watchers around each poll, and a timer.

libev calls gevent's own ``prepare`` watcher in each iteration, and gevent starts greenlets there.
Therefore ours have the outermost priorities: the last before the poll, and the first after the
poll. gevent on libuv has no such watchers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn_backlog.scoreboard.loop_row import LoopRow
from gunicorn_backlog.workers.loops.beat import BEAT_EVERY_S, CallLater
from gunicorn_backlog.workers.loops.poll_timer import PollTimer


def time_polls(loop: Any, row: LoopRow) -> PollTimer | None:
    """Start the watchers around the polls of a hub's loop; None: the loop has none."""
    try:
        before = loop.prepare(ref=False, priority=loop.MINPRI)
        after = loop.check(ref=False, priority=loop.MAXPRI)
    except (AttributeError, TypeError):  # libuv
        return None
    timer = PollTimer(row)
    before.start(timer.before_poll)
    after.start(timer.after_poll)
    return timer


def call_later(loop: Any) -> CallLater:
    """Return a function that calls another one after 100 ms, for any delay.

    The timer does not keep the loop alive.
    """
    timer = loop.timer(BEAT_EVERY_S, BEAT_EVERY_S, ref=False)

    def call_after_beat(delay_s: float, callback: Callable[[], None]) -> None:
        timer.again(callback, update=True)

    return call_after_beat
