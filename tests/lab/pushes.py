"""A stand-in Agent's datagrams as the pushes of one server."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache

from agent import Datagram, Line, StandInAgent

from tests.lab.waiting import wait_for

LONGEST_WAIT_MS = 600_000  # the largest legal value of all metrics

LAST_LINE = b"is_running|"  # of each push with counts of workers


class Push:
    """One push: the lines of its datagrams. ``at_s``: arrival of the first one."""

    def __init__(self, *datagrams: Datagram) -> None:
        self.at_s = datagrams[0].at_s
        self._datagrams = datagrams

    @cached_property
    def lines(self) -> list[Line]:
        """The lines of all datagrams. Raises ValueError."""
        return [line for datagram in self._datagrams for line in parsed(datagram)]

    @cached_property
    def _by_name(self) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.name, []).append(line)
        return found

    def all(self, name: str, *tags: str) -> list[Line]:
        """Return the lines of a metric with these tags."""
        return [line for line in self._by_name.get(name, ()) if line.tags >= set(tags)]

    def values(self, name: str, *tags: str) -> tuple[float, ...]:
        """Return the values of the only line of a metric with these tags."""
        (line,) = self.all(name, *tags)
        return line.values

    @property
    def workers(self) -> dict[str, float]:
        """Workers by state."""
        return {line.tag("state") or "": line.values[0] for line in self.all("gunicorn.workers")}


# While a test waits, it reads the same datagrams many times.
@lru_cache(maxsize=2048)
def parsed(datagram: Datagram) -> tuple[Line, ...]:
    """Return the lines of a datagram."""
    return tuple(datagram.lines)


@lru_cache(maxsize=2048)
def push_of(*datagrams: Datagram) -> Push:
    """Return the push that consists of these datagrams."""
    return Push(*datagrams)


def pushes(agent: StandInAgent) -> list[Push]:
    """Return all pushes so far."""
    return [push_of(*datagrams) for datagrams in complete(agent.datagrams)]


def latest(agent: StandInAgent) -> Push:
    """Return the latest push; wait for the first one."""
    return wait_for("a push", lambda: pushes(agent))[-1]


def complete(datagrams: Iterable[Datagram]) -> list[list[Datagram]]:
    """Return the datagrams of each push of one server, without an incomplete last one."""
    found: list[list[Datagram]] = [[]]
    for datagram in list(datagrams):
        if found[-1] and _begins_anew(datagram, found[-1]):
            found.append([])
        found[-1].append(datagram)
        if LAST_LINE in datagram.octets:
            found.append([])
    return found[:-1]


def _begins_anew(datagram: Datagram, before: Iterable[Datagram]) -> bool:
    """Return whether a datagram repeats a series: the previous push had no last line."""
    series = {(line.name, line.tags) for datagram in before for line in parsed(datagram)}
    return any((line.name, line.tags) in series for line in parsed(datagram))


def wait_until_all_are_idle(agent: StandInAgent, workers: int = 2) -> None:
    """Wait for a push in which all workers are idle."""
    idle = {"idle": workers, "working": 0, "starting": 0}
    wait_for("all workers", lambda: next_pushes(agent, 1)[0].workers == idle)


def wait_for_in_flight(agent: StandInAgent, requests: int) -> None:
    """Wait for a push with that number of requests in flight.

    Workers count a request until shortly after the app's last line and the client's last byte.
    """
    name = "gunicorn.requests.in_flight"
    wait_for(f"{requests} in flight", lambda: next_pushes(agent, 1)[0].values(name) == (requests,))


def next_pushes(agent: StandInAgent, count: int) -> list[Push]:
    """Wait for ``count`` further pushes, and return them.

    The first one is skipped, because its interval began before the call.
    """
    return pushes_since(agent, len(agent.datagrams), count)


def pushes_since(agent: StandInAgent, seen: int, count: int) -> list[Push]:
    """Wait for ``count`` pushes whose intervals began after the first ``seen`` datagrams."""
    wait_for(f"{count} pushes", lambda: len(complete(agent.datagrams[seen:])) > count)
    return [push_of(*datagrams) for datagrams in complete(agent.datagrams[seen:])[1 : 1 + count]]


def check_sanity(received: Iterable[Push], *, workers: int, connections: int) -> None:
    """Assert that no value of a push is negative or impossible.

    :param workers: the largest number of workers.
    :param connections: the largest number of connections, including abandoned ones.
    """
    for push in received:
        for line in push.lines:
            assert all(0 <= value <= LONGEST_WAIT_MS for value in line.values), line
            if line.name in ("gunicorn.workers.utilization", "gunicorn.workers.saturated"):
                assert line.values[0] <= 100, line
            if line.name in ("gunicorn.threads.queued", "gunicorn.requests.in_flight"):
                assert line.values[0] <= connections, line
        assert sum(push.workers.values()) <= workers, push.lines
