"""Run apply.py in forks of a process that has imported the ``datadog`` client, which takes 0.2 s.

    python -m tests.datadog.apply_runner

Reads a JSON object per line (``Order``), and prints the pid and the exit code of each.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from typing import TypedDict


class Order(TypedDict):
    """One run: the command without Python, its whole environment, and files for its output."""

    command: list[str]
    environ: dict[str, str]
    output: list[str]


def next_order() -> Order | None:
    """Return in a fork its order; in the parent None at the end of all orders."""
    for line in sys.stdin:
        order: Order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return order
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def obey(order: Order) -> None:
    """Become ``python COMMAND``: the interpreter reports exceptions and flushes as usual."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    os.environ.clear()
    os.environ.update(order["environ"])
    for descriptor, path in enumerate([os.devnull, *order["output"]]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = order["command"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    import datadog  # the client's modules; apply.py's own are imported in the fork

    assert datadog.api
    given = next_order()
    if given is not None:
        obey(given)
