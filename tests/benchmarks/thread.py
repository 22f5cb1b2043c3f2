"""What the arbiter's thread takes of a core with the defaults."""

from __future__ import annotations

import time
from functools import partial

from tests.benchmarks.servers import WITH, running
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import in_turns, median, target
from tests.lab.vitals import cpu_ns, our_threads

ROUNDS, QUICK_ROUNDS = 7, 2
ROUND_S, QUICK_ROUND_S = 10.0, 2.0
CLASSES = {"4 sync workers": (), "4 gthread workers of 8 threads": ("--threads", "8")}
TARGET_SHARE = 0.3  # percent

TEXT = """\
The processor time of the thread in a real arbiter with the defaults, ten samples and a push a
second: one listener, nobody asks for anything, so each time it wakes up its caches are cold."""


def tables(quick: bool) -> list[Table]:
    """Watch real gunicorns."""
    rounds, round_s = (QUICK_ROUNDS, QUICK_ROUND_S) if quick else (ROUNDS, ROUND_S)
    cases = {name: partial(_share, arguments, round_s) for name, arguments in CLASSES.items()}
    rows = [
        row(name, "%", shares, note=target(median(shares), TARGET_SHARE, "%"))
        for name, shares in in_turns(cases, rounds).items()
    ]
    return [Table("The thread's share of a core", TEXT, rows)]


def _share(arguments: tuple[str, ...], round_s: float) -> float:
    """Start a server, and return how much of a core its thread took, in percent."""
    with running(WITH, arguments=arguments) as server:
        time.sleep(2)  # its first interval
        (thread,) = our_threads(server.pid)
        before_ns, began_ns = cpu_ns(server.pid, thread), time.monotonic_ns()
        time.sleep(round_s)
        used_ns = cpu_ns(server.pid, thread) - before_ns
        return 100 * used_ns / (time.monotonic_ns() - began_ns)
