"""The CPU time that ours adds to a request of a real worker, in the worker itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from tests.benchmarks.in_place_subjects import EACH_WAIT, NO_WAIT, SUBJECTS, Subject
from tests.benchmarks.in_place_worker import (
    COLD_CALL,
    CONFIG,
    CPU,
    EMPTY,
    OFF,
    ON,
    STATE,
    SUBJECT,
)
from tests.benchmarks.servers import running
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import differences, interval_of_median, median, target
from tests.lab.server import Server

PAIRS, QUICK_PAIRS = 120, 10
BLOCKS = 5  # in each state, of a pair
REQUESTS = 50  # of a block; the speed of a busy machine changes within a longer one
WARM_UP = 4  # requests after a change of state, before a block
NULL = "nothing toggled"
TARGET_PERCENT, NULL_PERCENT = 1.5, 0.7
TARGETS = {"sync", "gthread"}

TEXT = f"""\
CPU time of the one worker of a real gunicorn (its process CPU clock) per request of the smallest
app. One client sends one request after the other, each on a connection of its own unless it says
"kept alive". In the same worker our wrappers are removed and restored. A pair is {BLOCKS} blocks of
{REQUESTS} requests in one state and {BLOCKS} in the other, alternately; every other pair begins
with the other state. All comparisons of a class are taken in turns. The interval is that of the
pairs' median, with 95 %. "{NULL}" compares a state with itself. An empty wrapper is a function
that passes any arguments on; "one getsockopt" is an empty wrapper that reads TCP_INFO. "each wait
measured" is the cost at a rate at which no measurement is skipped. The timer of an event loop's
polls stays in both states, see `loop_iteration`."""


class Case(NamedTuple):
    """A state that is compared with another one."""

    state: str
    base: str = OFF


def tables(quick: bool) -> list[Table]:
    """Measure each worker class."""
    pairs = int(os.environ.get("IN_PLACE_PAIRS", QUICK_PAIRS if quick else PAIRS))
    wanted = os.environ.get("IN_PLACE_CLASSES", ";".join(SUBJECTS)).split(";")
    rows = []
    for name in wanted:
        rows += _rows(name, _measured(name, SUBJECTS[name], pairs))
    return [Table("In place", TEXT, rows)]


def cases_of(subject: Subject) -> dict[str, Case]:
    """Return the comparisons of a worker class, by their names."""
    cases = {"all": Case(ON), NULL: Case(OFF), "an empty wrapper": Case(EMPTY)}
    if subject.accepted is not None:
        cases["one getsockopt"] = Case(COLD_CALL)
    if subject.waits or subject.wait_spot is not None:
        cases["begin and end"] = Case(NO_WAIT)
        cases["the wait"] = Case(ON, base=NO_WAIT)
    if subject.waits:
        cases["all, each wait measured"] = Case(EACH_WAIT)
    wanted = os.environ.get("IN_PLACE_CASES")
    return cases if wanted is None else {name: cases[name] for name in wanted.split(";")}


class Pairs(NamedTuple):
    """The CPU time of a request in both blocks of each pair, in µs."""

    state: list[float]
    base: list[float]


def _measured(name: str, subject: Subject, pairs: int) -> Mapping[str, Pairs]:
    cases = cases_of(subject)
    found = {name: Pairs([], []) for name in cases}
    with running(
        CONFIG,
        workers=1,
        arguments=subject.arguments,
        app=subject.app,
        environ={SUBJECT: name, **subject.environ},
    ) as server:
        client = Client(server, kept=subject.kept)
        for number in range(pairs):
            for case_name, case in cases.items():
                us = client.pair_us(case, reverse=number % 2 == 1)
                found[case_name].state.append(us[0])
                found[case_name].base.append(us[1])
    return found


class Client:
    """The client of a worker; one request at a time."""

    def __init__(self, server: Server, *, kept: bool = False) -> None:
        self._address = ("127.0.0.1", server.port)
        self._kept = kept

    def pair_us(self, case: Case, *, reverse: bool) -> tuple[float, float]:
        """Return the CPU time of a request in the state and in the base, in µs."""
        us = [0.0, 0.0]
        for number in range(BLOCKS):
            for part in (0, 1) if reverse == (number % 2 == 0) else (1, 0):
                us[part] += self._block_us(case[part]) / BLOCKS
        return us[0], us[1]

    def _block_us(self, state: str) -> float:
        self._get(STATE + quote(state))
        self.send(WARM_UP)
        before_ns = int(self._get(CPU))
        self.send(REQUESTS)
        return (int(self._get(CPU)) - before_ns) / REQUESTS / 1000

    def send(self, count: int) -> None:
        """Send a number of requests, and read their answers."""
        if self._kept:
            self._send_on_one_connection(count)
            return
        octets, address = _request("/"), self._address
        for _ in range(count):
            with socket.create_connection(address) as client:
                client.sendall(octets)
                while client.recv(4096):
                    pass

    def _send_on_one_connection(self, count: int) -> None:
        octets = _request("/", kept=True)
        with socket.create_connection(self._address) as client:
            for _ in range(count):
                client.sendall(octets)
                answer = client.recv(4096)
                while not answer.endswith(b"\r\n\r\nok"):
                    answer += client.recv(4096)

    def _get(self, path: str) -> str:
        with socket.create_connection(self._address, timeout=20) as client:
            client.sendall(_request(path))
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"{path}: {answer!r}")
        return body.decode()


def _request(path: str, *, kept: bool = False) -> bytes:
    close = "" if kept else "Connection: close\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{close}\r\n".encode()


def _rows(name: str, found: Mapping[str, Pairs]) -> list[Row]:
    base = next(iter(found.values())).base
    rows = [row(f"{name}, without us, a request", "µs", base)]
    for case, pairs in found.items():
        rows.append(_row(name, case, differences(pairs.state, pairs.base), median(base)))
    return rows


def _row(name: str, case: str, added_us: Sequence[float], base_us: float) -> Row:
    low, high = (100 * it / base_us for it in interval_of_median(added_us))
    percent = 100 * median(added_us) / base_us
    note = f"{percent:+.2f} % (95 %: {low:+.2f} to {high:+.2f})"
    if case == NULL:
        note += f"; {target(abs(percent), NULL_PERCENT, '%')}"
    if case == "all" and name in TARGETS:
        note += f"; {target(percent, TARGET_PERCENT, '%')}"
    return row(f"{name}: {case}", "µs", added_us, note=note)
