"""What was pushed: a stand-in Agent's datagrams, read as the story of one server."""

from __future__ import annotations

from collections.abc import Iterable

from agent import Datagram, Line, StandInAgent

from tests.lab.waiting import wait_for

LONGEST_WAIT_MS = 600_000  # nothing else of what is sent comes near it


class Push:
    """One push: all lines of one datagram."""

    def __init__(self, datagram: Datagram) -> None:
        self.at_s = datagram.at_s
        self.lines = datagram.lines

    def all(self, name: str, *tags: str) -> list[Line]:
        """Return the lines of that name that have these tags."""
        return [line for line in self.lines if line.name == name and line.tags >= set(tags)]

    def values(self, name: str, *tags: str) -> tuple[float, ...]:
        """Return the values of the only line of that name with these tags."""
        (line,) = self.all(name, *tags)
        return line.values

    @property
    def workers(self) -> dict[str, float]:
        """The workers by state."""
        return {line.tag("state") or "": line.values[0] for line in self.all("gunicorn.workers")}


def pushes(agent: StandInAgent) -> list[Push]:
    """Return all pushes so far."""
    return [Push(datagram) for datagram in agent.datagrams]


def wait_until_all_are_idle(agent: StandInAgent, workers: int = 2) -> None:
    """Wait for a push that says that all workers are up, and none is at work."""
    idle = {"idle": workers, "working": 0, "starting": 0}
    wait_for("all workers", lambda: next_pushes(agent, 1)[0].workers == idle)


def next_pushes(agent: StandInAgent, count: int) -> list[Push]:
    """Wait for that many further pushes, and return them.

    The first is left out: its interval began before the call.
    """
    seen = len(agent.datagrams)
    wait_for(f"{count} pushes", lambda: len(agent.datagrams) > seen + count)
    return [Push(datagram) for datagram in agent.datagrams[seen + 1 : seen + 1 + count]]


def check_sanity(told: Iterable[Push], *, workers: int, connections: int) -> None:
    """Assert of every push that nothing in it is negative or absurd.

    :param workers: the most that there can be at a time.
    :param connections: the same, those included that clients left and no worker has looked at.
    """
    for push in told:
        for line in push.lines:
            assert all(0 <= value <= LONGEST_WAIT_MS for value in line.values), line
            if line.name in ("gunicorn.workers.utilization", "gunicorn.workers.saturated"):
                assert line.values[0] <= 100, line
            if line.name in ("gunicorn.threads.queued", "gunicorn.requests.in_flight"):
                assert line.values[0] <= connections, line
        assert sum(push.workers.values()) <= workers, push.lines
