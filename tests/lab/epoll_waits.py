"""The time that a thread is blocked in epoll, as strace measures it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.waiting import wait_for

# 1764512345.123456 epoll_wait(5, [], 2, 97) = 0 <0.097123>
_CALL = re.compile(
    r"([0-9.]+) epoll_p?wait2?\(.*, (-?\d+|NULL|\{.*\})(?:, [^)]*)?\) += .*<([0-9.]+)>"
)


@contextmanager
def traced(pid: int, folder: Path) -> Iterator[Path]:
    """Trace the epoll waits of a process's main thread into a file."""
    log = folder / f"strace-{pid}"
    command = ["strace", "-ttt", "-T", "-e", "trace=epoll_wait,epoll_pwait", "-o", str(log)]
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)
    try:
        wait_for("strace to see a wait", lambda: log.exists() and len(calls(log)) > 3)
        yield log
    finally:
        tracer.terminate()
        tracer.wait()


def calls(log: Path) -> list[tuple[float, float]]:
    """Return begin (wall clock) and duration of each wait with a timeout other than 0."""
    found = (_CALL.match(line) for line in log.read_text().splitlines())
    return [(float(it[1]), float(it[3])) for it in found if it and it[2] != "0"]


def blocked_s(log: Path, begin_ns: int, end_ns: int) -> float:
    """Return the time blocked between two times of the monotonic clock."""
    offset_s = time.time() - time.monotonic()
    begin_s, end_s = begin_ns / 1e9 + offset_s, end_ns / 1e9 + offset_s
    return sum(max(0.0, min(at + lasted, end_s) - max(at, begin_s)) for at, lasted in calls(log))
