"""Benchmark of monitors of gunicorn: CPU time added to a request, and requests per second."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

from gunicorn_backlog.kernel.cpu_clock import cpu_ns
from tests.benchmarks import contenders, dropping, wrk
from tests.benchmarks.contenders import (
    AGAIN,
    CONTENDERS,
    EMPTY,
    IN_UVICORN,
    NO_WAIT,
    Contender,
)
from tests.benchmarks.in_place import REQUESTS, WARM_UP, Client
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import differences, interval_of_median, median
from tests.lab.gunicorn_versions import Gunicorn, install
from tests.lab.server import Server

ROUNDS, QUICK_ROUNDS = 201, 7
PAIRS, QUICK_PAIRS = 15, 2
WRK_S, QUICK_WRK_S = 2, 1
Values = dict[str, list[float]]


def tables(quick: bool) -> list[Table]:
    """Return the figures of all installed monitors, measured in turns."""
    there = [it for it in CONTENDERS if it.version is not None]
    left_out = [f"{it.name} is not installed" for it in CONTENDERS if it.version is None]
    with tempfile.TemporaryDirectory() as older:
        with ExitStack() as stack:
            start = _Starter(stack, Path(older))
            blocks = start.all(there, start.cpu_of_a_request)
            times = in_turns(blocks, QUICK_ROUNDS if quick else ROUNDS, start.broken)
        found = [_in_place(there, times, left_out + start.broken)]
        if not wrk.is_installed():
            return found
        with ExitStack() as stack:
            start = _Starter(stack, Path(older))
            seconds = QUICK_WRK_S if quick else WRK_S
            idle = (NO_WAIT, EMPTY, AGAIN)
            loaded = [it for it in there if it.name not in idle and it.base != IN_UVICORN]
            serving = start.all(loaded, lambda it: start.serving(it, seconds))
            rates = in_turns(serving, QUICK_PAIRS if quick else PAIRS, start.broken)
    return [*found, _requests_per_second(loaded, rates, seconds, left_out + start.broken)]


def in_turns(cases: Mapping[str, Callable[[], float]], rounds: int, broken: list[str]) -> Values:
    """Return ``rounds`` values per case: one value of each in turn, every other turn backwards.

    A case that fails is left out, and its error is appended to ``broken``.
    """
    values: Values = {name: [] for name in cases}
    for turn in range(rounds):
        for name in list(values)[:: -1 if turn % 2 else 1]:
            try:
                values[name].append(cases[name]())
            except (AssertionError, OSError, ValueError) as error:
                del values[name]
                broken.append(f"{name} ended in turn {turn} ({str(error)[-200:]})")
    return values


class _Starter:
    """Starts a gunicorn for each contender; all run until the stack is closed.

    ``broken``: one line per contender that does not run, with its error. Older gunicorns are
    installed into ``older``.
    """

    def __init__(self, stack: ExitStack, older: Path) -> None:
        self.broken: list[str] = []
        self._stack = stack
        self._older = older
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deaf = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        deaf.bind(("127.0.0.1", 0))
        self._deaf = deaf.getsockname()[1]
        judoscale = stack.enter_context(dropping.judoscale())
        (self._folder / "prometheus").mkdir()
        self._environ = contenders.environ(str(self._folder), self._deaf, judoscale)

    def all(
        self, wanted: Sequence[Contender], start: Callable[[Contender], Callable[[], float]]
    ) -> dict[str, Callable[[], float]]:
        """Start all contenders; return the measuring function of each that runs."""
        measured = {}
        for contender in wanted:
            try:
                measured[contender.name] = start(contender)
            except (AssertionError, OSError, pytest.skip.Exception) as error:
                self.broken.append(f"{contender.name} does not run ({str(error)[-200:]})")
        return measured

    def cpu_of_a_request(self, contender: Contender) -> Callable[[], float]:
        """Start a contender; return the function that measures a block: µs of a request."""
        server = self._serving(contender)
        (pid,) = server.worker_pids()
        client = Client(server)

        def block_us() -> float:
            client.send(WARM_UP)
            before_ns = cpu_ns(pid)
            client.send(REQUESTS)
            return (cpu_ns(pid) - before_ns) / REQUESTS / 1000

        return block_us

    def serving(self, contender: Contender, seconds: int) -> Callable[[], float]:
        """Start a contender; return the function that measures its requests per second."""
        server = self._serving(contender)
        return lambda: wrk.requests_per_second(server, seconds)

    def _serving(self, contender: Contender) -> Server:
        gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
        if contender.gunicorn is not None:
            gunicorn = install(contender.gunicorn, self._older)
        server = Server(
            gunicorn,
            self._folder,
            workers=1,
            config=contender.config,
            arguments=(
                *("--timeout", "0"),
                *(argument.format(deaf=self._deaf) for argument in contender.arguments),
            ),
            environ=self._environ,
            app=contender.app,
        )
        self._stack.enter_context(server)
        return server.wait_until_it_serves()


def _in_place(taking_part: Sequence[Contender], times: Values, left_out: Sequence[str]) -> Table:
    added, notes = {}, {}
    for it in taking_part:
        base = it.base_in_place or it.base
        if it.name != base and {it.name, base} <= times.keys():
            added[it.name] = differences(times[it.name], times[base])
            low, high = interval_of_median(added[it.name])
            share = 100 * median(added[it.name]) / median(times[base])
            interval = f"{share:+.1f} % of its base (95 %: {low:+.1f} to {high:+.1f} µs)"
            notes[it.name] = "; ".join([interval, *_properties(it)])
    rows = [row(f"{name}, a request", "µs", us) for name, us in times.items() if name not in added]
    rows += [row(name, "µs", us, note=notes[name]) for name, us in added.items()]
    return Table(
        "Peers in place",
        "CPU time that a monitor adds to a request of the smallest app, in the one worker of a "
        "real gunicorn (its process CPU clock, all its threads). One client sends one request "
        f"after the other, each on a connection of its own. Blocks of {REQUESTS} requests, in "
        "turns over the servers. The base is the same server without a monitor; a second one "
        "shows what two equal servers differ by. What runs in the arbiter is not included."
        + _absent(left_out),
        rows,
    )


def _properties(contender: Contender) -> list[str]:
    parts = [f"{contender.package} {contender.version}"]
    if contender.unseen:
        working = "reports" if contender.tells_working else "does not report"
        parts += [f"{working} working workers", f"does not measure {contender.unseen}"]
    return [*parts, contender.note] if contender.note else parts


def _requests_per_second(
    taking_part: Sequence[Contender], rates: Values, seconds: int, left_out: Sequence[str]
) -> Table:
    rows: list[Row] = []
    for it in (it for it in taking_part if it.name in rates and it.base in rates):
        base = rates[it.base]
        pairs = [100 * (rate / bare - 1) for rate, bare in zip(rates[it.name], base, strict=True)]
        low, high = interval_of_median(pairs)
        note = f"{median(pairs):+.1f} % (95 %: {low:+.1f} to {high:+.1f}) in pairs"
        note, beside = note if it.name != it.base else "", median(base)
        rows.append(row(it.name, "requests/s", rates[it.name], beside=beside, note=note))
    return Table(
        "Peers: requests per second",
        f"`wrk` with four connections for {seconds} s at a time, in turns; one sync worker, the "
        "smallest app. Datagrams go to a UDP port without a reader, or are dropped. Pairs "
        "compare with the same turn without a monitor." + _absent(left_out),
        rows,
        beside="of no monitor",
    )


def _absent(left_out: Sequence[str]) -> str:
    return f" Left out: {'; '.join(left_out)}." if left_out else ""
