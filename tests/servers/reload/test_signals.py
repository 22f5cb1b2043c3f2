"""HUP, TTIN, TTOU and WINCH, repeatedly: one thread, each push once, no gap, no fork lost.

A short form always runs; ``pytest -m soak`` runs the long one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.procfs import children, has_own_handlers, is_alive
from tests.lab.push_streams import (
    check_end,
    check_pace,
    check_spawned,
    stream,
    tagged_pushes,
    tagging_config,
    wait_until_all_came,
)
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.thread_counter import ThreadCounter
from tests.lab.waiting import wait_for

LONG = 100  # times, when nothing else runs
INTERVALS_S = (0.5, 0.5, 0.4, 0.8, 0.4)
LONG_INTERVAL_S = 1.0
WORKERS = (2, 3, 1)
DISABLED_EVERY = 4
SPARE_S = 0.7  # tolerance for a machine with other load


@pytest.fixture
def other_agent(listen: AgentFactory) -> StandInAgent:
    """A second stand-in Agent, for a change of the address."""
    return listen()


@pytest.fixture
def forks(tmp_path: Path) -> Path:
    """Return the file to which arbiters write their forks."""
    return tmp_path / "forks"


def wait_for_workers(arbiter: int, count: int, without: set[int]) -> set[int]:
    """Wait until an arbiter has ``count`` workers that handle signals, none in ``without``."""

    def settled() -> set[int] | None:
        pids = children(arbiter)
        ready = len(pids) == count and not pids & without and all(map(has_own_handlers, pids))
        return pids if ready else None

    return wait_for(f"{count} workers", settled)


def has_new_worker(arbiter: int, former: set[int]) -> set[int] | None:
    """Return an arbiter's workers if a new one handles signals; former ones may still leave."""
    pids = children(arbiter)
    return pids if any(map(has_own_handlers, pids - former)) else None


def check(push: Push) -> float:
    """Return the status of the service check."""
    return push.values("gunicorn.is_running")[0]


def wait_until_in_force(reading: int, agent: StandInAgent) -> None:
    """Wait for a push under the settings of that reading."""
    wait_for("a push", lambda: reading in {push.reading for push in tagged_pushes(agent)[-1:]})


def wait_until_quiet(seconds: float, *agents: StandInAgent) -> None:
    """Wait after the end of all servers: no push may arrive."""
    wait_until_all_came(*agents)
    before = len(tagged_pushes(*agents))
    end_s = time.monotonic() + seconds
    wait_for("two intervals", lambda: time.monotonic() > end_s)
    assert len(tagged_pushes(*agents)) == before


@forms("reloads", short=4, long=LONG)
def test_reloads_with_other_settings(
    reloads: int,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    other_agent: StandInAgent,
    forks: Path,
) -> None:
    """HUPs that change interval, url, tags and workers, and that disable and enable us."""
    agents = (agent, other_agent)
    server = serve(gunicorn, workers=None, config=tagging_config(agent, forks, interval_s=0.5))
    disabled = {it for it in range(1, reloads + 1) if it % DISABLED_EVERY == 3}
    with ThreadCounter() as counter:
        counter.add(server.pid)
        pids = wait_for_workers(server.pid, 2, set())
        for reading in range(1, reloads + 1):
            workers = WORKERS[reading % len(WORKERS)]
            config = tagging_config(
                agents[reading % 2],
                forks,
                interval_s=INTERVALS_S[reading % len(INTERVALS_S)],
                workers=workers,
                reading=reading,
                enabled=reading not in disabled,
            )
            server.reload(config)
            pids = wait_for_workers(server.pid, workers, pids)
            if reading in disabled:
                wait_for("the thread to end", lambda: counter.latest(server.pid) == 0)
            else:
                wait_until_in_force(reading, agents[reading % 2])
        server.signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    wait_until_quiet(2 * max(INTERVALS_S), *agents)

    pushes = stream(server.pid, *agents)
    assert len(pushes) == len(tagged_pushes(*agents))
    assert {push.app for push in pushes} == {"lab"}
    longest = check_pace(pushes, spare_s=SPARE_S, without=disabled)
    check_end(pushes, alone=reloads == LONG)
    forked = check_spawned(pushes, forks, server.pid)
    assert counter.counts(server.pid) == [1] + [0, 1] * len(disabled)
    assert "Traceback" not in server.log
    assert server.our_lines == []
    print(
        f"{gunicorn.version}: {reloads} HUPs, {len(disabled)} of them disabled; "
        f"{len(pushes)} pushes, the longest gap {longest:.2f} intervals; {forked} forks counted; "
        f"{counter.samples} samples saw one thread"
    )


@NEWEST_BY_DAY
@forms("reloads", short=6, long=LONG)
def test_reloads_faster_than_the_interval(
    reloads: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, forks: Path
) -> None:
    """HUPs several times in an interval, with other tags, do not put the push off."""
    config = partial(tagging_config, agent, forks, interval_s=LONG_INTERVAL_S, workers=1)
    server = serve(gunicorn, workers=None, config=config())
    with ThreadCounter() as counter:
        counter.add(server.pid)
        pids = wait_for_workers(server.pid, 1, set())
        next_pushes(agent, 1)
        for reading in range(1, reloads + 1):
            server.reload(config(reading=reading))
            pids = wait_for("another worker", partial(has_new_worker, server.pid, pids))
        next_pushes(agent, 1)
        server.signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    wait_until_all_came(agent)

    pushes = stream(server.pid, agent)
    times = [push.at_s for push in pushes[:-1]]
    longest = max(latter - former for former, latter in pairwise(times))
    longest /= LONG_INTERVAL_S
    print(f"{gunicorn.version}: {reloads} HUPs, {len(pushes)} pushes, {longest:.2f} intervals")
    assert longest <= 1 + SPARE_S / LONG_INTERVAL_S
    check_pace(pushes, spare_s=SPARE_S)
    check_end(pushes, alone=reloads == LONG)
    check_spawned(pushes, forks, server.pid)
    assert counter.counts(server.pid) == [1]


@forms("rounds", short=1, long=LONG)
def test_more_and_fewer_workers(
    rounds: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, forks: Path
) -> None:
    """TTIN and TTOU: no push is lost or doubled, and each worker and fork is counted."""
    server = serve(gunicorn, workers=None, config=tagging_config(agent, forks))
    with ThreadCounter() as counter:
        counter.add(server.pid)
        wait_for_workers(server.pid, 2, set())
        next_pushes(agent, 1)
        up = len(tagged_pushes(agent))
        for _ in range(rounds):
            for number, workers in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
                server.signal(number)
                wait_for_workers(server.pid, workers, set())
        for number, workers in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
            server.signal(number)
            wait_until_all_are_idle(agent, workers)
        at_work = tagged_pushes(agent)[up:]
        server.signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    wait_until_all_came(agent)

    pushes = stream(server.pid, agent)
    assert {sum(push.workers.values()) for push in at_work} <= {2, 3}
    longest = check_pace(pushes, spare_s=SPARE_S)
    check_end(pushes, alone=rounds == LONG)
    assert check_spawned(pushes, forks, server.pid) == 2 + rounds + 1
    assert counter.counts(server.pid) == [1]
    print(
        f"{gunicorn.version}: {rounds} TTIN and TTOU; {len(pushes)} pushes, the longest gap "
        f"{longest:.2f} intervals"
    )


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """Return the path for a daemon's pid; the daemon and its workers are killed at the end."""
    path = tmp_path / "pid"
    yield path
    with suppress(OSError):  # the process has ended
        arbiter = int(path.read_text())
        if str(path) in Path(f"/proc/{arbiter}/cmdline").read_text():  # the same process
            for pid in (*children(arbiter), arbiter):
                os.kill(pid, signal.SIGKILL)


def daemon(server: Server, pid_file: Path) -> int:
    """Return the pid of a daemon's arbiter, after the launching process has ended."""
    assert server.process.wait(20) == 0
    wait_for("the daemon's pid", lambda: pid_file.exists() and pid_file.read_text().strip())
    return int(pid_file.read_text())


def test_a_daemon_without_workers(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, forks: Path, pid_file: Path
) -> None:
    """After WINCH the workers end: CRITICAL without workers, OK again after a HUP."""
    config = tagging_config(agent, forks, interval_s=0.5)
    arguments = ("--daemon", "--pid", str(pid_file))
    server = serve(gunicorn, workers=None, config=config, arguments=arguments)
    arbiter = daemon(server, pid_file)
    with ThreadCounter() as counter:
        counter.add(arbiter)
        wait_for_workers(arbiter, 2, set())
        server.hold(1)
        wait_for("one at work", lambda: server.journal.in_flight().total() == 1)
        os.kill(arbiter, signal.SIGWINCH)
        one = {"idle": 0, "working": 1, "starting": 0}
        wait_for("the other to leave", lambda: next_pushes(agent, 1)[0].workers == one)
        assert check(next_pushes(agent, 1)[0]) == 0

        server.let_go()
        wait_for("none to be left", lambda: not children(arbiter))
        for push in next_pushes(agent, 2):
            assert push.workers == {"idle": 0, "working": 0, "starting": 0}
            assert check(push) == 2

        os.kill(arbiter, signal.SIGHUP)
        wait_for_workers(arbiter, 2, set())
        wait_for("two idle workers", lambda: next_pushes(agent, 1)[0].workers["idle"] == 2)
        assert check(next_pushes(agent, 1)[0]) == 0
        os.kill(arbiter, signal.SIGTERM)
        wait_for("the arbiter's end", lambda: not is_alive(arbiter))
    wait_until_all_came(agent)

    pushes = tagged_pushes(agent)  # the launching process read the config first
    longest = check_pace(pushes, spare_s=SPARE_S)
    assert check_spawned(pushes, forks, arbiter) == 4
    assert counter.counts(arbiter) == [1]
    print(f"{gunicorn.version}: {len(pushes)} pushes, the longest gap {longest:.2f} intervals")
