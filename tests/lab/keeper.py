"""A process that kills the servers of a test process that ends without its fixtures' teardown.

pytest-xdist kills its workers some seconds after a Ctrl-C. Without a keeper their servers would
stay, and hold ports, sockets and pushes of the next run.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
from functools import cache

PROGRAM = """
import os, signal, sys

groups = set()
for line in sys.stdin:
    (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
_lock = threading.Lock()


def keep(group: int) -> None:
    """Have a process group killed when this process ends."""
    _write(f"+{group}")


def release(group: int) -> None:
    """Forget a process group that was killed: its number may soon belong to another group."""
    _write(f"-{group}")


def _write(line: str) -> None:
    with _lock:
        stdin = _keeper().stdin
        assert stdin is not None
        stdin.write(f"{line}\n")
        stdin.flush()


@cache
def _keeper() -> subprocess.Popen[str]:
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM],
        stdin=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    atexit.register(keeper.communicate)  # closes its input, and waits
    return keeper
