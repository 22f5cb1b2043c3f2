"""Pushes as one stream for each arbiter, and checks of these streams.

With the configs of this module each push has the arbiter's pid and the settings in force as tags,
and each arbiter writes its forks to a file.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from agent import Datagram, StandInAgent

from gunicorn_backlog.config.agent_address import parse
from tests.lab.pushes import Push, complete
from tests.lab.waiting import wait_for

_CONFIG = """
from gunicorn_backlog.hooks import *
from gunicorn_backlog import configure
import os
workers = {workers}
configure(
    url={url!r},
    interval={interval_s},
    samples=5,
    enabled={enabled},
    tags=[f"arbiter:{{os.getpid()}}", "interval:{interval_s}", "reading:{reading}", "at:{port}"],
)
def pre_fork(server, worker):
    with open({forks!r}, "a") as forks:
        print(server.pid, {enabled}, file=forks)
"""
_MARK = b"lab.mark:1|c"


def tagging_config(
    agent: StandInAgent,
    forks: Path,
    *,
    interval_s: float = 0.5,
    workers: int = 2,
    reading: int = 0,
    enabled: bool = True,
) -> str:
    """Return a config with these settings.

    :param forks: the file to which arbiters write each fork of a worker.
    :param reading: the number of times that a config was read before this one.
    """
    return _CONFIG.format(
        url=agent.url,
        port=parse(agent.url).port,
        forks=str(forks),
        interval_s=interval_s,
        workers=workers,
        reading=reading,
        enabled=enabled,
    )


class TaggedPush(Push):
    """A push with the values of its tags."""

    def __init__(self, *datagrams: Datagram) -> None:
        super().__init__(*datagrams)
        (check,) = self.all("gunicorn.is_running")
        self.app = check.tag("app") or ""
        self.arbiter = int(check.tag("arbiter") or 0)
        self.reading = int(check.tag("reading") or 0)
        self.interval_s = float(check.tag("interval") or 0)
        self.port = int(check.tag("at") or 0)
        self.is_critical = check.values == (2,)
        (self.spawned,) = self.values("gunicorn.workers.spawned")


def tagged_pushes(*agents: StandInAgent) -> list[TaggedPush]:
    """Return all pushes so far to any of these Agents, by time of arrival."""
    found = []
    for agent in agents:
        came = [TaggedPush(*push) for its in _by_arbiter(agent).values() for push in complete(its)]
        assert {push.port for push in came} <= {parse(agent.url).port}, "a push to a former url"
        found += came
    return sorted(found, key=lambda push: push.at_s)


def _by_arbiter(agent: StandInAgent) -> dict[str | None, list[Datagram]]:
    """Return the datagrams of each arbiter; those of several arbiters may be interleaved."""
    found: dict[str | None, list[Datagram]] = {}
    for datagram in list(agent.datagrams):
        if datagram.octets.strip() != _MARK:
            found.setdefault(datagram.lines[0].tag("arbiter"), []).append(datagram)
    return found


def stream(arbiter: int, *agents: StandInAgent) -> list[TaggedPush]:
    """Return the pushes of one arbiter so far."""
    return [push for push in tagged_pushes(*agents) if push.arbiter == arbiter]


def wait_until_all_came(*agents: StandInAgent) -> None:
    """Wait for a datagram of our own at each Agent: all earlier datagrams have arrived then."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for agent in agents:
            marks = _marks(agent)
            address = parse(agent.url)
            sock.sendto(_MARK, (address.host, address.port))
            wait_for("the mark", lambda: _marks(agent) > marks)  # noqa: B023


def _marks(agent: StandInAgent) -> int:
    return sum(1 for datagram in list(agent.datagrams) if datagram.octets.strip() == _MARK)


def check_pace(
    pushes: Sequence[TaggedPush], *, spare_s: float, without: Collection[int] = ()
) -> float:
    """Check that each interval was pushed once; return the longest gap, in intervals.

    :param spare_s: tolerance in seconds for a busy machine.
    :param without: the readings of configs that disable us; no gap is counted across one.
    """
    assert not {push.reading for push in pushes} & set(without), "a push while disabled"
    longest = 0.0
    for former, latter in pairwise(pushes):
        assert former.reading <= latter.reading, "former settings came back"
        if any(former.reading < reading < latter.reading for reading in without):
            continue
        gap_s = latter.at_s - former.at_s
        # Each HUP that changes the pace starts a new interval.
        assert gap_s <= former.interval_s + latter.interval_s + spare_s, (former, latter)
        longest = max(longest, gap_s / max(former.interval_s, latter.interval_s))
    for _, group in groupby(pushes[:-1], key=lambda push: push.reading):
        settled = list(group)
        span_s = settled[-1].at_s - settled[0].at_s
        assert (len(settled) - 1) * settled[0].interval_s <= span_s + spare_s, "pushed twice"
    return longest


def check_end(pushes: Sequence[TaggedPush], *, alone: bool) -> None:
    """Check that only the last push, or one without workers, is CRITICAL.

    :param alone: no other test runs: a last push is required (it has 0.1 s).
    """
    assert pushes[-1].is_critical or not alone, "no last push"
    for push in pushes[:-1]:
        assert push.is_critical == (sum(push.workers.values()) == 0), push.workers


def check_spawned(pushes: Sequence[TaggedPush], forks: Path, arbiter: int) -> int:
    """Check that all forks under configs that enable us were pushed; return their number."""
    forked = forks.read_text().split("\n").count(f"{arbiter} True")
    spawned = sum(push.spawned for push in pushes)
    assert spawned == forked, f"{spawned} spawned, {forked} forked"
    return forked


def check_apps(pushes: Sequence[TaggedPush]) -> None:
    """Check that no two arbiters pushed with one ``app`` at a time."""
    for app in {push.app for push in pushes}:
        took_over = [
            arbiter for arbiter, _ in groupby(push.arbiter for push in pushes if push.app == app)
        ]
        assert len(took_over) == len(set(took_over)), f"two arbiters pushed as {app}"
