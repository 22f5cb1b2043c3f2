"""Benchmark of the duration of one sample and of one push."""

from __future__ import annotations

import logging
import socket
import struct
import tempfile
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.listeners import Listeners
from tests.benchmarks.stand_in import Size, StandIn, listening
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import in_turns, median, target
from tests.lab.fake_arbiter import Arbiter, Cfg, Listener

ROUNDS, QUICK_ROUNDS = 21, 5
CALLS_S = 0.01  # duration of a case in a round
LISTENERS = (1, 4, 16, 64)
WORKERS = (1, 4, 16, 128, 1000)
POOLS = ((4, 8), (16, 32), (64, 128))  # workers, and threads per worker
SHARING = 4  # workers at an address with reuse_port
SAMPLES = 10  # per interval
TARGET_EACH = 2.0  # times the bare call, of a TCP listener
TARGET_US = 1000.0  # of 1,000 workers

IPPROTO_TCP, TCP_INFO = 6, 11
UNPACK = struct.Struct("=B7x16xII").unpack
LOGGER = OnceLogger(logging.getLogger("benchmark"))

LISTENERS_TEXT = f"""\
All accept queues of a server, read once. The last column is one listener's share, as a multiple of
`getsockopt(TCP_INFO)` and `unpack` alone. With `reuse_port` {SHARING} workers listen at each
address."""
SAMPLES_TEXT = f"""\
One sample of a whole server, listeners and workers, of which there are {SAMPLES} in an interval.
`sync` unless threads are named, and all caches are warm. One of the workers has begun a request
since the last sample."""
PUSHES_TEXT = """\
One push: the drops, the waits, the summary of the interval, and its datagrams to a UDP socket."""


class Step(NamedTuple):
    """Durations of one sample and of one push, in us."""

    sample: float
    push: float


def tables(quick: bool) -> list[Table]:
    """Return the durations of reads, samples and pushes, measured in turns."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with ExitStack() as stack:
        readers = _readers(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        us = in_turns({name: _timed(read) for name, read in readers.items()}, rounds)
    with ExitStack() as stack:
        sizes = [Size(count, 4) for count in LISTENERS] + [Size(1, count) for count in WORKERS]
        sizes += [Size(max(LISTENERS), max(WORKERS))]
        sizes += [Size(1, workers, threads) for workers, threads in POOLS]
        servers = {size: stack.enter_context(StandIn(size)) for size in dict.fromkeys(sizes)}
        cases = {str(size): partial(_step, server) for size, server in servers.items()}
        steps = in_turns(cases, rounds)
    return [_listeners_table(us), *_server_tables(steps)]


def _listeners_table(us: dict[str, list[float]]) -> Table:
    bare = median(us["bare"])
    rows = [row("bare `getsockopt` and `unpack`", "us", us["bare"], beside=bare)]
    for name, values in us.items():
        if name != "bare":
            share = median(values) / int(name.split()[0]) / bare
            note = target(share, TARGET_EACH) if "TCP" in name else ""
            rows.append(row(name, "us", values, note=note)._replace(beside=share))
    return Table("Reading listeners", LISTENERS_TEXT, rows, beside="each, beside bare")


def _server_tables(steps: dict[str, list[Step]]) -> list[Table]:
    samples, pushes = [], []
    for size, found in steps.items():
        samples.append(_sample_row(size, [step.sample for step in found]))
        pushes.append(row(size, "us", [step.push for step in found]))
    return [
        Table("A sample", SAMPLES_TEXT, samples),
        Table("A push", PUSHES_TEXT, pushes),
    ]


def _sample_row(size: str, us: list[float]) -> Row:
    note = target(median(us), TARGET_US, "us") if f"{max(WORKERS)} workers" in size else ""
    return row(size, "us", us, note=note)


def _step(server: StandIn) -> Step:
    """Sample and push some intervals; return the mean durations."""
    intervals = max(1, round(CALLS_S / SAMPLES / server.sample_s))
    sample_s = push_s = 0.0
    for _ in range(intervals):
        sample_s += timeit.timeit(server.sample, number=SAMPLES) / SAMPLES
        push_s += timeit.timeit(server.push, number=1)
    return Step(*(1e6 * took_s / intervals for took_s in (sample_s, push_s)))


def _timed(read: Callable[[], object]) -> Callable[[], float]:
    """Return a function that measures one call of ``read``, in us."""
    number, took_s = timeit.Timer(read).autorange()
    calls = max(1, round(CALLS_S * number / took_s))
    return lambda: 1e6 * timeit.timeit(read, number=calls) / calls


def _readers(stack: ExitStack, folder: Path) -> dict[str, Callable[[], object]]:
    """Return functions that read listeners, by number and kind."""
    one = stack.enter_context(listening())
    readers: dict[str, Callable[[], object]] = {
        "bare": lambda: UNPACK(one.getsockopt(IPPROTO_TCP, TCP_INFO, 32))
    }
    for count in LISTENERS:
        tcp = [stack.enter_context(listening()) for _ in range(count)]
        unix = [stack.enter_context(_unix(folder / f"{count}-{number}")) for number in range(count)]
        readers[f"{count} TCP"] = _reading(tcp)
        readers[f"{count} Unix"] = _reading(unix)
        readers[f"{count} with `reuse_port`"] = _reading_shared(stack, count)
    return readers


def _reading(sockets: list[socket.socket], **cfg: Any) -> Callable[[], object]:
    """Return a function that reads the queues of an arbiter with these sockets."""
    arbiter = Arbiter([Listener(sock) for sock in sockets], cfg=Cfg(**cfg))
    return Listeners(arbiter, LOGGER).read


def _reading_shared(stack: ExitStack, count: int) -> Callable[[], object]:
    addresses = []
    for _ in range(count):
        address = ("127.0.0.1", 0)
        for _ in range(SHARING):
            address = stack.enter_context(listening(address)).getsockname()
        addresses.append(address)
    return _reading([], reuse_port=True, address=addresses)


def _unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(5)
    return sock
