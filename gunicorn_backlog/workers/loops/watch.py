"""Entry points: begin to watch the event loop of a worker, in the loop's thread.

Each function returns the loop's beat; None after an error, which is logged. None of them raises.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from gunicorn_backlog.log import OnceLogger, log_errors
from gunicorn_backlog.scoreboard.loop_row import METER, Meter
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.workers.loops import asyncio_loop, eventlet_hub, gevent_hub
from gunicorn_backlog.workers.loops.beat import Beat, LoopMeter
from gunicorn_backlog.workers.loops.pools import GeventPool, Pools, asyncio_pools


def watch_asyncio(slot: Slot, get_loop: Callable[[], Any]) -> Beat | None:
    """Watch a loop with asyncio's interface, before or while the loop runs."""
    return _logged(slot, partial(_watch_asyncio, slot, get_loop))


def watch_gevent(slot: Slot) -> Beat | None:
    """Watch the hub of this thread, after the ``hub.reinit`` of gunicorn's worker."""
    return _logged(slot, partial(_watch_gevent, slot))


def watch_eventlet(slot: Slot) -> Beat | None:
    """Watch the hub of this thread."""
    return _logged(slot, partial(_watch_eventlet, slot))


def note_unmeasured(slot: Slot) -> None:
    """Record that the loop is not measured; without that it would count as free."""
    slot.loop.words[METER] = Meter.ABSENT


def _logged(slot: Slot, watch: Callable[[], Beat]) -> Beat | None:
    beat = log_errors(OnceLogger(), "watching the event loop", watch)
    if beat is None:
        note_unmeasured(slot)
    return beat


def _watch_asyncio(slot: Slot, get_loop: Callable[[], Any]) -> Beat:
    loop = get_loop()
    beat = Beat(slot, _meter(partial(_asyncio_meter, slot, loop)), loop.call_later)
    loop.stop = _before(loop.stop, beat.loop_stopped)
    beat.callbacks.append(asyncio_pools(slot.loop, loop))
    beat.start()
    return beat


def _meter(find: Callable[[], LoopMeter | None]) -> LoopMeter:
    """Return a meter of the running time; the beat goes on without one."""
    return log_errors(OnceLogger(), "measuring the event loop", find) or LoopMeter()


def _asyncio_meter(slot: Slot, loop: Any) -> LoopMeter | None:
    if not _is_uvloop(loop):
        return asyncio_loop.time_polls(loop, slot.loop)
    # Imported late: ctypes takes 1 MB, and the arbiter imports this module.
    from gunicorn_backlog.workers.loops import uvloop_loop

    return uvloop_loop.read_idle_total(loop, slot.loop)


def _is_uvloop(loop: object) -> bool:
    return any(base.__module__ == "uvloop.loop" for base in type(loop).__mro__)


def _before(stop: Callable[[], None], step: Callable[[], None]) -> Callable[[], None]:
    """Return a loop's ``stop`` with a step before: a stopped loop may be replaced by another."""

    @wraps(stop)
    def stop_after_step() -> None:
        step()
        stop()

    return stop_after_step


def _watch_gevent(slot: Slot) -> Beat:
    hub = sys.modules["gevent"].get_hub()
    meter = _meter(partial(gevent_hub.time_polls, hub.loop, slot.loop))
    beat = Beat(slot, meter, gevent_hub.call_later(hub.loop))
    beat.callbacks.append(Pools(slot.loop, {"gevent": GeventPool(slot, hub)}))
    beat.start()
    return beat


def _watch_eventlet(slot: Slot) -> Beat:
    hub = sys.modules["eventlet.hubs"].get_hub()
    meter = _meter(partial(eventlet_hub.time_polls, hub, slot.loop))
    beat = Beat(slot, meter, hub.schedule_call_global)
    beat.start()
    return beat
