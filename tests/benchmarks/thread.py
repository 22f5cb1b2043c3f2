"""Benchmark of the arbiter's thread: its share of a core with the defaults."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from tests.benchmarks.servers import WITH, running
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import in_turns, median, target
from tests.lab.procfs import cpu_ns, our_threads

ROUNDS, QUICK_ROUNDS = 7, 2
ROUND_S, QUICK_ROUND_S = 10.0, 2.0
TARGET_SHARE = 0.3  # percent

# The floor: the share of any thread that wakes up as often.
PERIODIC = """
import signal, socket, struct, time, _thread

def run(sock, read, lock=_thread.allocate_lock()):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    lock.acquire()
    due = time.monotonic()
    while True:
        due += 0.1
        lock.acquire(timeout=max(0, due - time.monotonic()))
        read(sock)

def when_ready(server):
    _thread.start_new_thread(run, (server.LISTENERS[0].sock, read))
"""
WAKING = (
    PERIODIC
    + """
def read(sock):
    pass
"""
)
READING = (
    PERIODIC
    + """
unpack = struct.Struct("=24xII").unpack

def read(sock):
    unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32))
"""
)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a thread that does nothing, ten times a second": (WAKING, ()),
    "one that reads the listener by `getsockopt`": (READING, ()),
    "with us, 4 sync workers": (WITH, ()),
    "with us, 4 gthread workers of 8 threads": (WITH, ("--threads", "8")),
}

TEXT = """\
Processor time of the thread in a real arbiter with the defaults: ten samples and a push a second,
one listener, no requests. The caches are cold each time that the thread wakes up. The first two
rows are threads that push nothing, in an arbiter without us: the floor of waking up, and the floor
of one `getsockopt`."""


def tables(quick: bool) -> list[Table]:
    """Return the thread's share of a core in real gunicorns."""
    rounds, round_s = (QUICK_ROUNDS, QUICK_ROUND_S) if quick else (ROUNDS, ROUND_S)
    cases = {name: partial(_share, *case, round_s) for name, case in CASES.items()}
    rows = [
        row(name, "%", shares, note=_target(shares) if name.startswith("with us") else "")
        for name, shares in in_turns(cases, rounds).items()
    ]
    return [Table("The thread's share of a core", TEXT, rows)]


def _target(shares: Sequence[float]) -> str:
    return target(median(shares), TARGET_SHARE, "%")


def _share(config: str, arguments: tuple[str, ...], round_s: float) -> float:
    """Start a server, and return its thread's share of a core, in percent."""
    with running(config, arguments=arguments) as server:
        time.sleep(2)  # its first interval
        (thread,) = our_threads(server.pid)
        before_ns, began_ns = cpu_ns(server.pid, thread), time.monotonic_ns()
        time.sleep(round_s)
        used_ns = cpu_ns(server.pid, thread) - before_ns
        return 100 * used_ns / (time.monotonic_ns() - began_ns)
