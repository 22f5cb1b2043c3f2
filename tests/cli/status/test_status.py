"""``status`` equals the pushes and ``ss``: each worker class, each kind of listener."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.cli_in_process import run_here, status_here
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.ss import Listening, ss
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import CLASSES, GEVENT, GTHREAD, SYNC, WORKERS, WorkerClass
from tests.servers.listeners.test_kinds import BACKLOG, SETUPS, Target, fill

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "2"}
CLIENTS = 7
TRIES = 5
CASES = [*((case, case.versions[-1]) for case in CLASSES), (GTHREAD, VERSIONS[0])]
NIGHTLY = [(case, VERSIONS[0]) for case in (SYNC, GEVENT)]
OF_THE_ARBITER = (
    "gunicorn.workers.spawned",
    "gunicorn.workers.exited",
    "gunicorn.workers.timeout_used",
)
CPU_TIMES = ("gunicorn.workers.cpu", "gunicorn.workers.cpu_wait")
SHARES = (
    "gunicorn.workers.utilization",
    "gunicorn.workers.busiest",
    "gunicorn.workers.saturated",
)


def name_of(worker_class: WorkerClass, version: str) -> str:
    """Return the name of a case."""
    return f"{worker_class.name}-{worker_class.app[10:14]}-{version}"


def settled(server: Server, agent: StandInAgent) -> bool:
    """Return whether the numbers are steady."""

    def now() -> tuple[int, int]:
        return ss(server.address).recv_q, server.journal.in_flight().total()

    before = now()
    next_pushes(agent, 1)
    return before == now() and before[1] > 0


@pytest.mark.parametrize(
    ("worker_class", "version"),
    [
        *(pytest.param(*case, id=name_of(*case)) for case in CASES),
        *(pytest.param(*case, id=name_of(*case), marks=pytest.mark.nightly) for case in NIGHTLY),
    ],
)
def test_each_worker_class(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """With more requests than capacity each number equals the pushed one."""
    server = serve(
        installed(version),
        arguments=worker_class.arguments,
        app=worker_class.app,
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, WORKERS)
    server.hold(CLIENTS)
    wait_for("the clients to settle", lambda: settled(server, agent))
    seen, push = undisturbed(server, agent)
    check_workers(seen, worker_class, server)
    (listener,) = seen["listeners"]
    assert listener["gunicorn.backlog"] == ss(server.address).recv_q
    assert {listener["gunicorn.backlog.max"]} == set(push.values("gunicorn.backlog"))
    assert seen["server"]["app"] == "lab"
    assert seen["server"]["bind"] == [server.address]
    assert seen["server"]["gunicorn"] == server.gunicorn.version
    assert seen["server"]["worker_class"] == (worker_class.name or "sync")
    server.let_go()


def undisturbed(server: Server, agent: StandInAgent) -> tuple[dict[str, Any], Push]:
    """Return a report and a later push that agree: they are of different times.

    Other load may keep an event loop from its CPU in one of the two.
    """
    for number in count(1):
        since_s = time.monotonic()
        seen = status_here(server.pid)
        (push,) = next_pushes(agent, 1)
        try:
            check_metrics(seen["metrics"], push, since_s)
        except AssertionError:
            if number == TRIES:
                raise
        else:
            break
    return seen, push


def check_metrics(metrics: dict[str, Any], push: Push, since_s: float) -> None:
    """Compare all metrics without a listener with a later push: names and values.

    An age grows from one to the other. Each interval has delays of its own.

    :param since_s: the monotonic clock when the metrics were read, or earlier.
    """
    pushed: dict[str, Any] = {}
    for line in push.lines:
        if line.name in OF_THE_ARBITER:
            continue
        if line.type == "_sc":
            pushed[line.name] = {0: "OK", 2: "CRITICAL"}[int(line.values[0])]
        elif (state := line.tag("state")) is not None:
            pushed.setdefault(line.name, {})[state] = line.values[0]
        elif line.tag("listener") is None:
            pushed[line.name] = line.values[0]
    assert metrics.keys() == pushed.keys()
    has_loop = "gunicorn.loop.delay.avg" in metrics  # what else the loop does differs
    for name, value in pushed.items():
        if name == "gunicorn.requests.oldest":
            assert 0 < value - metrics[name] < push.at_s - since_s
        elif name.startswith("gunicorn.loop.delay."):  # of other beats than in the push
            assert 0 <= metrics[name] < 60_000
        elif name in SHARES:
            assert metrics[name] == pytest.approx(value, abs=5 if has_loop else 1)
        elif name in CPU_TIMES:  # of different seconds, on a machine with other load
            assert 0 <= metrics[name] <= 100 * CLIENTS
        else:
            assert metrics[name] == value, name


def check_workers(seen: dict[str, Any], worker_class: WorkerClass, server: Server) -> None:
    """Compare each worker with the app's requests in flight."""
    workers = {worker["pid"]: worker for worker in seen["workers"]}
    assert workers.keys() == server.worker_pids()
    held = server.journal.in_flight()
    assert {
        pid: worker["in_flight"] for pid, worker in workers.items() if worker["in_flight"]
    } == held
    for worker in workers.values():
        assert type(worker["in_flight"]) is int
        assert worker["state"] == ("working" if worker["pid"] in held else "idle")
        timed = worker["in_flight"] > 0
        assert (worker["oldest_s"] is not None) == timed
        assert not timed or 0 < worker["oldest_s"] < 60
        if worker_class.capacity is not None:
            assert worker["capacity"] == worker_class.capacity // WORKERS
            busy = 100 * worker["in_flight"] / worker["capacity"]
            assert worker["utilization"] == pytest.approx(busy, abs=1)
        else:
            assert worker["capacity"] is None
            assert 0 <= worker["utilization"] <= 100  # of the event loop, which waits here


@pytest.mark.parametrize("name", SETUPS)
def test_each_kind_of_listener(
    name: str, newest: Gunicorn, serve: ServerFactory, tmp_path: Path, agent: StandInAgent
) -> None:
    """With filled queues each listener's numbers equal those of ``ss`` and of the pushes."""
    folder = tmp_path / re.sub(r"\W+", "-", name)
    folder.mkdir()
    with ExitStack() as clients:
        setup = SETUPS[name](folder, clients)
        server = serve(
            newest,
            workers=setup.workers,
            bind=setup.bind,
            environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
            arguments=(*setup.arguments, "--backlog", str(BACKLOG), "--timeout", "0"),
            pass_fds=setup.pass_fds,
            run_by=setup.run_by,
        )
        wait_until_all_are_idle(agent, setup.workers)
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGSTOP)
        for target, depth in zip(setup.targets, cycle(("over-full", "1", "full"))):
            fill(target, depth, clients)
        (push,) = next_pushes(agent, 1)
        seen = status_here(server.pid)
        kernel = {target.tag: target.oracle() for target in setup.targets}
    listeners = {listener["listener"]: listener for listener in seen["listeners"]}
    assert listeners.keys() == {target.tag for target in setup.targets}
    for target in setup.targets:
        check_listener(listeners[target.tag], target, kernel[target.tag], push)


def check_listener(
    seen: dict[str, Any], target: Target, kernel: list[Listening], push: Push
) -> None:
    """Compare one listener; its drops depend on the clients' retries."""
    tag = f"listener:{target.tag}"
    assert seen["unreadable"] is None
    assert seen["gunicorn.backlog"] == sum(found.recv_q for found in kernel) > 0
    assert seen["gunicorn.backlog.limit"] == sum(found.send_q for found in kernel)
    assert seen["gunicorn.backlog.deepest"] in (None, max(found.recv_q for found in kernel))
    for name in ("gunicorn.backlog.limit", "gunicorn.backlog.deepest"):
        pushed = [line.values[0] for line in push.all(name, tag)]
        assert [value for value in [seen[name]] if value is not None] == pushed
    assert {seen["gunicorn.backlog"]} == set(push.values("gunicorn.backlog", tag))
    counted = bool(push.all("gunicorn.backlog.dropped", tag))
    assert (seen["dropped_ever"] is not None) == counted
    assert not counted or seen["dropped_ever"] >= seen["gunicorn.backlog.dropped"] >= 0


def test_as_text(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """The text report has the same facts as the JSON."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, environ=environ)
    wait_until_all_are_idle(agent, WORKERS)
    server.hold(3)
    wait_for("the clients to settle", lambda: settled(server, agent))
    done = run_here("status", str(min(server.worker_pids())), "--seconds", "0.3")
    assert done.code == 0
    assert done.lines[0].startswith(f"lab: pid {server.pid}, gunicorn {newest.version}, sync, up ")
    assert done.lines[1] == f"pushes every 0.1 s to {agent.url} (from GUNICORN_BACKLOG_URL)"
    assert re.search(rf"\n{re.escape(server.address)} +1 +\d+ +0 +0\n", done.out)
    assert "workers      0 idle, 2 working, 0 starting\n" in done.out
    assert "utilization  100 %, saturated 100 % of the time\n" in done.out
    for pid in server.worker_pids():
        assert re.search(rf"\n *{pid} +working +1/1 +- +\d\.\d s +1 +100%", done.out)
    server.let_go()


def test_a_server_without_workers_that_report(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Without our post_worker_init workers are starting, and later of unknown state."""
    config = "from gunicorn_backlog.hooks import when_ready\ntimeout = 1\n"
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, config=config, environ=environ).wait_until_it_serves()
    assert status_here(server.pid)["metrics"]["gunicorn.workers"]["starting"] == WORKERS
    found = wait_for("workers of unknown state", lambda: given_up(server))
    assert found["metrics"]["gunicorn.workers"] == {"total": WORKERS}
    assert "gunicorn.requests.in_flight" not in found["metrics"]
    assert {worker["state"] for worker in found["workers"]} == {"unknown"}
    assert {worker["pid"] for worker in found["workers"]} == server.worker_pids()
    done = run_here("check", str(server.pid))
    assert done.code == 2
    assert re.search(r"\nfailed +hooks +our post_worker_init did not run in 2 workers", done.out)
    assert "gunicorn_backlog.hooks.install(globals())" in done.out


def given_up(server: Server) -> dict[str, Any] | None:
    """Return the status after the workers' time to report is over; None before."""
    found = status_here(server.pid)
    return found if {worker["state"] for worker in found["workers"]} == {"unknown"} else None
