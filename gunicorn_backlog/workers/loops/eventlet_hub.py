"""eventlet's hub: ``wait``, which polls, and then runs the greenlets whose sockets are ready.

``BaseHub.run`` looks ``self.wait`` up on the instance at each iteration, and ``wait`` looks up
``self.do_poll``. A hub without sockets sleeps in ``wait`` instead of polling.
"""

from __future__ import annotations

from typing import Any

from gunicorn_backlog.scoreboard.loop_row import LoopRow
from gunicorn_backlog.workers.loops.poll_timer import PollTimer


def time_polls(hub: Any, row: LoopRow) -> PollTimer | None:
    """Wrap ``wait`` and ``do_poll`` of a hub; None: the hub polls in another way."""
    do_poll = getattr(hub, "do_poll", None)
    if do_poll is None:
        return None
    wait, timer = hub.wait, PollTimer(row)

    def wait_timed(seconds: float | None = None) -> Any:
        if seconds is not None and seconds <= 0:
            return wait(seconds)
        timer.before_poll()
        try:
            return wait(seconds)
        finally:
            timer.after_poll()

    def do_poll_timed(seconds: float | None) -> Any:
        try:
            return do_poll(seconds)
        finally:
            timer.after_poll()

    hub.wait, hub.do_poll = wait_timed, do_poll_timed
    return timer
