"""USR2, repeatedly: two masters side by side, each with one thread, and none left behind.

A short form always runs; ``pytest -m soak`` runs the long one.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import children, has_own_handlers, is_alive, scoreboards
from tests.lab.push_streams import (
    check_apps,
    check_end,
    check_pace,
    check_spawned,
    stream,
    tagged_pushes,
    tagging_config,
    wait_until_all_came,
)
from tests.lab.short_and_soak import forms
from tests.lab.thread_counter import ThreadCounter
from tests.lab.waiting import wait_for

LONG = 10  # rounds, on an otherwise idle machine
WORKERS = 2
SPARE_S = 0.7  # tolerance for a machine with other load


def wait_for_workers(arbiter: int, besides: int = 0) -> None:
    """Wait until all workers of an arbiter handle signals."""

    def settled() -> bool:
        pids = children(arbiter) - {besides}
        return len(pids) == WORKERS and all(map(has_own_handlers, pids))

    wait_for("workers", settled)


def wait_for_push(agent: StandInAgent, arbiter: int, app: str) -> None:
    """Wait for a new push of an arbiter under this name."""
    began_s = time.monotonic()

    def pushed() -> bool:
        latest = [push for push in stream(arbiter, agent) if push.at_s >= began_s]
        return any(push.app == app for push in latest)

    wait_for(f"a push of {app}", pushed)


def upgrade(agent: StandInAgent, counter: ThreadCounter, former: int) -> int:
    """Start a second arbiter by SIGUSR2, and return its pid as soon as both push."""
    workers = children(former)
    os.kill(former, signal.SIGUSR2)
    (new,) = wait_for("a new master", lambda: children(former) - workers)
    counter.add(new)
    wait_for_push(agent, new, "lab.2")
    wait_for_push(agent, former, "lab")
    wait_for_workers(new)
    assert len(scoreboards(new)) == len(scoreboards(former)) == 1
    assert scoreboards(new) != scoreboards(former)
    return new


def back(agent: StandInAgent, former: int, new: int) -> None:
    """End the new master; the former continues."""
    os.kill(new, signal.SIGQUIT)
    wait_for("the former to reap the new", lambda: new not in children(former))
    wait_for_push(agent, former, "lab")


def forth(agent: StandInAgent, former: int, new: int) -> None:
    """End the former master; the new one takes over its place and name."""
    os.kill(former, signal.SIGTERM)
    wait_for("the former to end", lambda: not is_alive(former))
    wait_for_push(agent, new, "lab")


@forms("upgrades", short=1, long=LONG)
def test_upgrades_and_back(
    upgrades: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """A new master that is given up, and then one that takes over, again and again.

    Both masters have one ``bind``; the tag ``app`` separates them.
    """
    forks = tmp_path / "forks"
    server = serve(gunicorn, workers=None, config=tagging_config(agent, forks, workers=WORKERS))
    arbiter, arbiters = server.pid, [server.pid]
    with ThreadCounter() as counter:
        counter.add(arbiter)
        wait_for_push(agent, arbiter, "lab")
        wait_for_workers(arbiter)
        for _ in range(upgrades):
            arbiters.append(upgrade(agent, counter, arbiter))
            back(agent, arbiter, arbiters[-1])
            arbiters.append(upgrade(agent, counter, arbiter))
            forth(agent, arbiter, arbiters[-1])
            arbiter = arbiters[-1]
        assert server.get()
        idle = {"idle": WORKERS, "working": 0, "starting": 0}
        wait_for("idle workers", lambda: stream(arbiter, agent)[-1].workers == idle)
        os.kill(arbiter, signal.SIGTERM)
        wait_for("the last to end", lambda: not is_alive(arbiter))
    wait_until_all_came(agent)

    longest = 0.0
    for pid in arbiters:
        pushes = stream(pid, agent)
        longest = max(longest, check_pace(pushes, spare_s=SPARE_S))
        check_end(pushes, alone=upgrades == LONG)
        assert check_spawned(pushes, forks, pid) == WORKERS
        assert counter.counts(pid) == [1]
    check_apps(tagged_pushes(agent))
    lines = [line for push in tagged_pushes(agent) for line in push.lines]
    assert {line.tag("bind") for line in lines} == {server.address}
    assert {push.arbiter for push in tagged_pushes(agent)} == set(arbiters)
    assert "Traceback" not in server.log
    assert server.our_lines == []
    print(
        f"{gunicorn.version}: {len(arbiters)} masters, {len(tagged_pushes(agent))} pushes, "
        f"the longest gap {longest:.2f} intervals; {counter.samples} samples saw one thread in each"
    )
