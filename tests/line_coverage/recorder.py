"""Mark each executed line of a package in a file that all processes share.

coverage.py keeps its data in memory until a process exits. Gunicorns under test end by SIGKILL, and
their data is lost. This recorder writes a byte per line to a shared mapping, which outlives any end
of a process. Python reports each line of each code object once (``sys.monitoring``, Python 3.12),
so that hot paths keep their speed. The recorder leaves no thread, open file or exit handler in a
process, and no import but its own: tests see those of the package only.

A recording is a folder of two files. ``sources`` has one absolute path per line. ``lines`` has
``LONGEST`` bytes for each source, in the same order; the byte of an executed line is 1.
"""

from __future__ import annotations

import sys
from mmap import mmap
from sys import monitoring  # type: ignore[attr-defined]  # of 3.12; types are checked for 3.10
from types import CodeType

LONGEST = 4096  # lines of a source
TOOL = 3  # free for any tool; coverage.py has 1
NAME = "gunicorn_backlog lines"


def start(folder: str) -> None:
    """Record this process, and the processes that it forks, from now on.

    In a virtual environment Python runs the ``.pth`` file twice; the second call does nothing.
    """
    if monitoring.get_tool(TOOL) == NAME:
        return
    try:
        with open(f"{folder}/sources", encoding="utf-8") as sources:
            rows = {path.rstrip("\n"): row for row, path in enumerate(sources)}
        with open(f"{folder}/lines", "r+b") as lines:
            marks = mmap(lines.fileno(), 0)
    except OSError:
        return  # the recording has ended, or is of another user's
    del sys.modules["mmap"]
    _monitor(rows, marks)


def _monitor(rows: dict[str, int], marks: mmap) -> None:
    events, done = monitoring.events, monitoring.DISABLE

    def at_start(code: CodeType, _offset: int) -> object:
        if code.co_filename in rows:
            monitoring.set_local_events(TOOL, code, events.LINE)
        return done

    def at_line(code: CodeType, line: int) -> object:
        marks[rows[code.co_filename] * LONGEST + line] = 1
        return done

    monitoring.use_tool_id(TOOL, NAME)
    monitoring.register_callback(TOOL, events.PY_START, at_start)
    monitoring.register_callback(TOOL, events.LINE, at_line)
    monitoring.set_events(TOOL, events.PY_START)
