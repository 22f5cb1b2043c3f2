"""Event loops of uvloop: the total of idle time that libuv keeps.

uvloop has no hook for each iteration. Its wheels export libuv's symbols; a build with the system's
libuv finds them there. https://docs.libuv.org/en/v1.x/metrics.html
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from gunicorn_backlog.scoreboard.loop_row import WORK_NS, LoopRow, Meter
from gunicorn_backlog.workers.loops.beat import LoopMeter

_UV_METRICS_IDLE_TIME = 1  # uv_loop_option in uv.h, since libuv 1.39
_CLOCK_NS = 1_000_000  # tolerated difference between two reads of the clock


class IdleTotal(LoopMeter):
    """Writes the word of ``Meter.BEAT``: elapsed time less libuv's idle time."""

    def __init__(self, row: LoopRow, idle_ns: Callable[[], int]) -> None:
        self._row = row
        self._idle_ns = idle_ns
        self._began_ns = self._idle_before_ns = self._idle_marked_ns = 0

    def measure(self, now_ns: int) -> Meter:
        """Write the time run since the first call; ``Meter.ABSENT`` for an impossible total."""
        idle_ns = self._idle_ns()
        if not self._began_ns:
            self._began_ns, self._idle_before_ns = now_ns, idle_ns
        elapsed_ns, idled_ns = now_ns - self._began_ns, idle_ns - self._idle_before_ns
        if not 0 <= idled_ns <= elapsed_ns + _CLOCK_NS:
            return Meter.ABSENT
        self._row.words[WORK_NS] = max(0, elapsed_ns - idled_ns)
        return Meter.BEAT

    def mark(self, listening: Iterable[int]) -> bool:
        """Record the time from which ``slept`` looks; return True: uvloop watches all listeners."""
        self._idle_marked_ns = self._idle_ns()
        return True

    def slept(self) -> bool:
        """Return whether a poll has slept since the mark.

        libuv first polls with timeout 0. It adds to its total only if no event was ready then.
        """
        return self._idle_marked_ns != self._idle_ns()


def read_idle_total(loop: Any, row: LoopRow) -> IdleTotal | None:
    """Have libuv measure the idle time of a loop; None: this libuv can't, or is not accessible."""
    try:
        module: Any = sys.modules["uvloop.loop"]
        libuv = ctypes.PyDLL(module.__file__)  # keeps the GIL: the calls take less than 1 µs
        configure, idle_time = libuv.uv_loop_configure, libuv.uv_metrics_idle_time
        pointer = _pointer(module.libuv_get_loop_t_ptr(loop))
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None
    configure.argtypes, configure.restype = (ctypes.c_void_p, ctypes.c_int), ctypes.c_int
    idle_time.argtypes, idle_time.restype = (ctypes.c_void_p,), ctypes.c_uint64
    if configure(pointer, _UV_METRICS_IDLE_TIME) != 0:
        return None
    return IdleTotal(row, partial(idle_time, pointer))  # 0.2 µs; 0.5 with a function of ours


def _pointer(capsule: object) -> int:
    """Return the ``uv_loop_t *`` in uvloop's nameless capsule. Raises ValueError."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.argtypes, get_pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    pointer: int | None = get_pointer(capsule, None)
    if not pointer:
        raise ValueError("the capsule is empty")
    return pointer
