"""Workers and arbiters that die leave nothing in the numbers or on the machine."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import descriptors, is_alive, processes, scoreboards
from tests.lab.pushes import latest, next_pushes, pushes
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG
from tests.lab.waiting import wait_for

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1"}
SHM = Path("/dev/shm")


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Return an empty folder for the server's temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def kill_one_at_work(server: Server) -> int:
    """Let a worker begin a request, and kill the worker during the request."""
    before = server.worker_pids()
    server.hold(1)
    victim = wait_for("one at work", lambda: at_work(server, before))
    os.kill(victim, signal.SIGKILL)
    wait_for("the victim to be reaped", lambda: victim not in server.worker_pids())
    return victim


def at_work(server: Server, pids: set[int]) -> int | None:
    """Return a worker with an open client connection, by the kernel's list of its files."""
    for pid in pids:
        if sockets(pid) - sockets(server.pid):
            return pid
    return None


def sockets(pid: int) -> set[str]:
    """Return the sockets of a process."""
    return {link for link in descriptors(pid).values() if link.startswith("socket:")}


def claimed_slots(server: Server) -> int:
    """Return the number of slots ever claimed, from the arbiter's memfd."""
    for fd, link in descriptors(server.pid).items():
        if link.startswith("/memfd:gunicorn_backlog"):
            memory = Path(f"/proc/{server.pid}/fd/{fd}").read_bytes()
            return int.from_bytes(memory[24:28], "little")
    raise AssertionError("there is no memfd")


def who_has(scoreboard: int) -> set[int]:
    """Return all processes of this machine with a scoreboard open or mapped."""
    return {pid for pid in processes() if scoreboard in scoreboards(pid)}


def members(*, session: int) -> set[int]:
    """Return the living processes of a session."""
    found = set()
    for pid in filter(is_alive, processes()):
        with suppress(ProcessLookupError):
            found |= {pid} if os.getsid(pid) == session else set()
    return found


@forms("kills", short=8, long=50)
def test_killed_workers_leave_nothing(
    kills: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, temporary: Path
) -> None:
    """A worker killed in a request leaves the numbers; many such workers reuse slots."""
    files = set(SHM.iterdir())
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url, "TMPDIR": str(temporary)}
    server = serve(gunicorn, environ=environ).wait_until_it_serves()
    next_pushes(agent, 1)

    kill_one_at_work(server)
    seen = len(pushes(agent))
    wait_for("the next push", lambda: len(pushes(agent)) > seen + 1)
    within_an_interval = pushes(agent)[seen + 1]
    assert within_an_interval.workers["working"] == 0
    assert within_an_interval.values("gunicorn.requests.in_flight") == (0,)

    for _ in range(kills - 1):
        wait_for("two workers", server.both_worker_pids)
        kill_one_at_work(server)
    wait_for("both to be idle", lambda: next_pushes(agent, 1)[0].workers["idle"] == 2)

    (push,) = next_pushes(agent, 1)
    assert push.workers == {"idle": 2, "working": 0, "starting": 0}
    assert sum(push.values("gunicorn.workers.spawned")[0] for push in pushes(agent)) == kills + 2
    assert claimed_slots(server) <= 4
    assert not [path for path in set(SHM.iterdir()) - files if "gunicorn" in path.name]
    assert set(temporary.iterdir()) == set()


def test_a_killed_arbiter_leaves_nothing(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, temporary: Path
) -> None:
    """After kill -9 of the arbiter its workers end, and no push follows."""
    files = set(SHM.iterdir())
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url, "TMPDIR": str(temporary)}
    # A worker checks for its arbiter after half of its timeout.
    server = serve(gunicorn, environ=environ, arguments=("--timeout", "3"))
    server.wait_until_it_serves()
    workers = wait_for("both workers", server.both_worker_pids)
    next_pushes(agent, 1)
    (scoreboard,) = scoreboards(server.pid)
    assert {server.pid, *workers} <= who_has(scoreboard)
    server.hold(1)
    wait_for("one at work", lambda: at_work(server, workers))

    server.signal(signal.SIGKILL)
    server.process.wait()
    server.let_go()
    seen = len(pushes(agent))  # a dead process can't push; one push may have been in transit
    wait_for("the workers to end", lambda: not any(map(is_alive, workers)))

    assert who_has(scoreboard) == set()
    assert members(session=server.pid) == set()
    assert len(pushes(agent)) <= seen + 1
    assert latest(agent).values("gunicorn.is_running") == (0,)
    assert not [path for path in set(SHM.iterdir()) - files if "gunicorn" in path.name]
    assert set(temporary.iterdir()) == set()


def test_a_child_of_a_worker_does_not_write_for_it(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """If an app forks and the child exits through our frame, the worker stays busy."""
    environ = EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, workers=1, config=SHORT_CONFIG, environ=environ).wait_until_it_serves()
    server.hold(1, "/fork-and-hold")
    wait_for("one working worker", lambda: next_pushes(agent, 1)[0].workers["working"] == 1)
    for push in next_pushes(agent, 3):
        assert push.workers == {"idle": 0, "working": 1, "starting": 0}
        assert push.values("gunicorn.requests.in_flight") == (1,)


def test_a_crash_loop_is_seen(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Workers that die between two samples are counted: each fork is."""
    config = """
from gunicorn_backlog.hooks import *
import os
def post_fork(server, worker):
    if worker.age > 2:
        os._exit(1)
"""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(newest, config=config, environ=environ).wait_until_it_serves()

    os.kill(min(server.worker_pids()), signal.SIGKILL)

    wait_for(
        "a loop of forks",
        lambda: next_pushes(agent, 1)[0].values("gunicorn.workers.spawned")[0] >= 2,
    )
