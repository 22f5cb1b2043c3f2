"""Benchmark of the cost of ``gunicorn-backlog status`` for the inspected server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.benchmarks.servers import WITH, running
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import differences, in_turns, interval_of_median
from tests.lab.cli_command import COMMAND, environment
from tests.lab.procfs import cpu_ns, threads
from tests.lab.server import Server

ROUNDS, QUICK_ROUNDS = 20, 3
REQUESTS, QUICK_REQUESTS = 2000, 200
WORKERS = 2
LONGEST_S = "60"
BEGUN_S = 1.0  # the command has finished its imports by then, and samples

TEXT = f"""\
Processor time of a server's {1 + WORKERS} processes together, per request. One client sends one
request after the other, {REQUESTS} a round. In turns, no command runs, and `status` takes its ten
samples a second continuously, as `top` does. The last row is the difference, round by round."""
ALONE, INSPECTED = "without a command", "with `status`"


def tables(quick: bool) -> list[Table]:
    """Return the processor time per request with and without the command, in turns."""
    rounds, requests = (QUICK_ROUNDS, QUICK_REQUESTS) if quick else (ROUNDS, REQUESTS)
    with running(WITH, workers=WORKERS) as server:
        cases = {
            ALONE: partial(_us_per_request, server, requests),
            INSPECTED: partial(_us_while_inspected, server, requests),
        }
        found = in_turns(cases, rounds)
    more = differences(found[INSPECTED], found[ALONE])
    low, high = interval_of_median(more)
    note = f"the median lies between {low:.1f} and {high:.1f} µs, with 95 %"
    rows = [row(name, "µs", values) for name, values in found.items()]
    return [Table("Inspection of a server", TEXT, [*rows, row("more", "µs", more, note=note)])]


def _us_per_request(server: Server, requests: int) -> float:
    before_ns = _used_ns(server)
    for _ in range(requests):
        server.get("/plain")
    return (_used_ns(server) - before_ns) / requests / 1000


def _us_while_inspected(server: Server, requests: int) -> float:
    with _status_command(server.pid):
        return _us_per_request(server, requests)


@contextmanager
def _status_command(pid: int) -> Iterator[None]:
    command = [*COMMAND, "status", str(pid), "--json", "--seconds", LONGEST_S]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as status:
        time.sleep(BEGUN_S)
        assert status.poll() is None
        yield
        assert status.poll() is None, "the command ended before the measurement"
        status.terminate()


def _used_ns(server: Server) -> int:
    processes = [server.pid, *server.worker_pids()]
    return sum(cpu_ns(pid, thread) for pid in processes for thread in threads(pid))
