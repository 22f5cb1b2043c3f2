"""Benchmark of the size of a push: datagrams and bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent import Datagram, StandInAgent

from tests.benchmarks.servers import WITH, running
from tests.benchmarks.table import Row, Table, row
from tests.benchmarks.turns import median, target

INTERVALS, QUICK_INTERVALS = 8, 3
SYNC: tuple[str, ...] = ()
THREADS = ("--threads", "8")
SHORT = {"DD_ENV": "prod", "DD_SERVICE": "shop", "DD_VERSION": "1.4.2"}
LONG = {"DD_ENV": "production", "DD_SERVICE": "shop-checkout", "DD_VERSION": "2026.11.25-1"}
TARGET_BYTES, TARGET_EACH = 1432, 350
LAST_LINE = b"_sc|gunicorn.is_running"

TEXT = """\
The push of one interval of a real server with 4 workers, to a UDP socket. Short tags:
`DD_ENV`, `DD_SERVICE` and `DD_VERSION` are `prod`, `shop` and `1.4.2`. Long tags: `production`,
`shop-checkout` and `2026.11.25-1`. "Without": `app` and `bind` alone. Each line has all tags, since
DogStatsD has no tags per datagram."""


class Push(NamedTuple):
    """The number of datagrams of one interval, and the sum of their bytes."""

    datagrams: int
    octets: int


def tables(quick: bool) -> list[Table]:
    """Return the sizes of the pushes of real gunicorns."""
    intervals = QUICK_INTERVALS if quick else INTERVALS
    rows = []
    for tagged, tags in (("without", {}), ("short tags", SHORT), ("long tags", LONG)):
        one = _received(1, SYNC, tags, intervals)
        rows.append(_row(f"1 listener, sync, {tagged}", one))
        threads = _received(1, THREADS, tags, intervals)
        rows.append(_row(f"1 listener, gthread, {tagged}", threads))
        rows.append(_each(f"each further listener, {tagged}", tags, one, intervals))
    return [Table("The push of an interval", TEXT, rows)]


def _row(name: str, pushes: Sequence[Push]) -> Row:
    octets = [float(push.octets) for push in pushes]
    most = max(push.datagrams for push in pushes)
    note = f"{most} datagram{'s' if most > 1 else ''}; {target(max(octets), TARGET_BYTES, 'bytes')}"
    return row(name, "bytes", octets, note=note)


def _each(name: str, tags: Mapping[str, str], one: Sequence[Push], intervals: int) -> Row:
    base = median([push.octets for push in one])
    four = _received(4, SYNC, tags, intervals)
    octets = [(push.octets - base) / 3 for push in four]
    return row(name, "bytes", octets, note=target(max(octets), TARGET_EACH, "bytes"))


def _received(
    listeners: int, arguments: tuple[str, ...], tags: Mapping[str, str], intervals: int
) -> list[Push]:
    """Return the pushes of a server in ``intervals`` intervals."""
    more = ("--bind", "127.0.0.1:0") * (listeners - 1)
    with StandInAgent() as agent:
        environ = {"GUNICORN_BACKLOG_URL": agent.url, **tags}
        with running(WITH, environ=environ, arguments=(*arguments, *more)):
            seen = len(agent.datagrams)
            time.sleep(intervals + 2)
            return _pushes(agent.datagrams[seen:])[:intervals]


def _pushes(datagrams: Sequence[Datagram]) -> list[Push]:
    """Return all pushes except the first, which may be incomplete."""
    pushes = [Push(0, 0)]
    for datagram in datagrams:
        last = pushes[-1]
        pushes[-1] = Push(last.datagrams + 1, last.octets + len(datagram.octets))
        if LAST_LINE in datagram.octets:
            pushes.append(Push(0, 0))
    return pushes[1:-1]
