"""What the arbiter's thread takes of a core with the defaults, and what it sends."""

from __future__ import annotations

import time
from functools import partial

from agent import StandInAgent

from tests.benchmarks.servers import TAGS, WITH, running
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import in_turns, median, target
from tests.lab.vitals import cpu_ns, our_threads

ROUNDS, QUICK_ROUNDS = 7, 2
ROUND_S, QUICK_ROUND_S = 10.0, 2.0
CLASSES = {"4 sync workers": (), "4 gthread workers of 8 threads": ("--threads", "8")}
LISTENERS = (1, 2, 4, 8)
INTERVALS, QUICK_INTERVALS = 8, 2
TARGET_SHARE = 0.3  # percent
TARGET_BYTES, TARGET_EACH = 1432, 350

SHARE_TEXT = """\
The processor time of the thread in a real arbiter with the defaults, ten samples and a push a
second: one listener, nobody asks for anything, so each time it wakes up its caches are cold."""
SENT_TEXT = f"""\
What a real server sends of one interval, to a UDP socket, with {", ".join(TAGS)} set."""


def tables(quick: bool) -> list[Table]:
    """Watch real gunicorns."""
    return [_shares(quick), _sent(QUICK_INTERVALS if quick else INTERVALS)]


def _shares(quick: bool) -> Table:
    rounds, round_s = (QUICK_ROUNDS, QUICK_ROUND_S) if quick else (ROUNDS, ROUND_S)
    cases = {name: partial(_share, arguments, round_s) for name, arguments in CLASSES.items()}
    rows = [
        row(name, "%", shares, note=target(median(shares), TARGET_SHARE, "%"))
        for name, shares in in_turns(cases, rounds).items()
    ]
    return Table("The thread's share of a core", SHARE_TEXT, rows)


def _share(arguments: tuple[str, ...], round_s: float) -> float:
    """Start a server, and return how much of a core its thread took, in percent."""
    with running(WITH, arguments=arguments) as server:
        time.sleep(2)  # its first interval
        (thread,) = our_threads(server.pid)
        before_ns, began_ns = cpu_ns(server.pid, thread), time.monotonic_ns()
        time.sleep(round_s)
        used_ns = cpu_ns(server.pid, thread) - before_ns
        return 100 * used_ns / (time.monotonic_ns() - began_ns)


def _sent(intervals: int) -> Table:
    rows: list[Row] = []
    for listeners in LISTENERS:
        with StandInAgent() as agent:
            environ = {"GUNICORN_BACKLOG_URL": agent.url, **TAGS}
            bind = tuple("127.0.0.1:0" for _ in range(listeners - 1))
            with running(WITH, environ=environ, arguments=_binds(bind)):
                datagrams, octets = _heard(agent, intervals)
        rows += _rows(listeners, datagrams, octets, rows)
    return Table("What is sent of an interval", SENT_TEXT, rows)


def _binds(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for it in addresses for part in ("--bind", it))


def _rows(
    listeners: int, datagrams: list[float], octets: list[float], before: list[Row]
) -> list[Row]:
    name = f"{listeners} listener{'s' if listeners > 1 else ''}"
    if listeners == 1:
        note = target(max(octets), TARGET_BYTES, "bytes")
    else:
        each = (median(octets) - before[0].median) / (listeners - 1)
        note = f"{each:.0f} bytes for each further; {target(each, TARGET_EACH, 'bytes')}"
    return [
        row(f"{name}, size", "bytes", octets, note=note),
        row(f"{name}, datagrams", "datagrams", datagrams),
    ]


def _heard(agent: StandInAgent, intervals: int) -> tuple[list[float], list[float]]:
    """Return the number of datagrams, and their bytes, of each of so many intervals."""
    seen = len(agent.datagrams)
    time.sleep(intervals + 1)
    pushes: list[list[int]] = [[]]
    for datagram in agent.datagrams[seen:]:
        pushes[-1].append(len(datagram.octets))
        if b"_sc|gunicorn.is_running" in datagram.octets:  # the last line of a push
            pushes.append([])
    whole = pushes[1:-1]
    return [float(len(it)) for it in whole], [float(sum(it)) for it in whole]
