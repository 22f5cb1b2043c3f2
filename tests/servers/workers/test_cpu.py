"""``gunicorn.workers.cpu`` and ``.cpu_wait`` of real workers, against other kernel counters."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.procfs import cpu_s
from tests.lab.pushes import complete, next_pushes, pushes_since, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, SYNC, WorkerClass

APP = "tests.lab.cpu_app:app"
INTERVAL = {"GUNICORN_BACKLOG_SAMPLES": "2"}
CPU, CPU_WAIT = "gunicorn.workers.cpu", "gunicorn.workers.cpu_wait"
USED_MS, PERIOD_MS = 40, 160
LEAST = 100 * 2 / 3 - 8  # of three workers on one core
PUSHES = 4


class Clients:
    """Clients that send requests one after the other, from threads; ``answered``: their number."""

    def __init__(self, server: Server, path: str, count: int) -> None:
        self.answered = 0
        self._ended = False
        self._server, self._path = server, path
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ended:
            with suppress(OSError):
                self._server.get(self._path)
                self.answered += 1

    def end(self) -> None:
        """Send no more requests, and wait for the responses."""
        self._ended = True
        for thread in self._threads:
            thread.join()


def measured(server: Server, agent: StandInAgent) -> tuple[float, float, float]:
    """Return the means of both metrics over some pushes, and of the workers' CPU by /proc.

    Both are of the same time: /proc is read when a push arrives, and when the last one does.
    """
    workers = server.worker_pids()
    seen = len(agent.datagrams)
    wait_for("the push before", lambda: complete(agent.datagrams[seen:]))
    began_s, before_s = time.monotonic(), sum(map(cpu_s, workers))
    received = pushes_since(agent, seen, PUSHES)
    passed_s, used_s = time.monotonic() - began_s, sum(map(cpu_s, workers)) - before_s
    means = [statistics.mean(push.values(name)[0] for push in received) for name in (CPU, CPU_WAIT)]
    return means[0], means[1], 100 * used_s / passed_s / len(workers)


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(((VERSIONS[0], GTHREAD), (VERSIONS[-1], SYNC)), id="by day"),
        nightly(((VERSIONS[0], SYNC), (VERSIONS[-1], GTHREAD)), id="at night"),
    ],
)
def test_an_app_that_burns_and_sleeps(
    cases: Sequence[tuple[str, WorkerClass]],
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    listen: AgentFactory,
) -> None:
    """The share of CPU time is the pushed one within 4 points; so is that of /proc.

    On a machine with other load a request takes longer than its period: the share is that of the
    requests that the client counts, 25 % at most. Both cases run at the same time.
    """
    runs = []
    for version, worker_class in cases:
        agent = listen()
        environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
        arguments = worker_class.arguments
        server = serve(installed(version), workers=1, app=APP, arguments=arguments, environ=environ)
        runs.append((server, agent))
    with ThreadPoolExecutor() as pool:
        failures = [done.exception() for done in [pool.submit(check, *run) for run in runs]]
    for (version, worker_class), failure in zip(cases, failures, strict=True):
        if failure is not None:
            raise AssertionError(f"gunicorn {version}, {worker_class.name}") from failure


def check(server: Server, agent: StandInAgent) -> None:
    """Compare the share of one server."""
    wait_until_all_are_idle(agent, 1)
    clients = Clients(server, f"/mix/{USED_MS}/{PERIOD_MS}", 1)
    next_pushes(agent, 1)
    began_s, answered = time.monotonic(), clients.answered
    used, waited, oracle = measured(server, agent)
    period_ms = 1e3 * (time.monotonic() - began_s) / (clients.answered - answered)
    clients.end()
    share = 100 * USED_MS / period_ms
    print(f"cpu {used:.1f} %, cpu_wait {waited:.1f} %; client {share:.1f} %, /proc {oracle:.1f} %")
    assert period_ms >= PERIOD_MS
    assert used == pytest.approx(share, abs=4)
    assert used == pytest.approx(oracle, abs=4)
    assert waited >= 0


def test_three_busy_workers_on_one_core(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Each worker runs a third of the time, and waits for the rest, within 8 points.

    Other processes on the core take a part of the workers' time; /proc has the part that is left.
    """
    core = str(max(os.sched_getaffinity(0)))
    server = serve(
        newest,
        workers=3,
        app=APP,
        run_by=("taskset", "-c", core),
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, 3)
    clients = Clients(server, "/burn/0.5", 8)
    next_pushes(agent, 2)  # until all workers are busy

    def agree() -> bool:
        used, waited, oracle = measured(server, agent)
        print(f"cpu {used:.1f} %, cpu_wait {waited:.1f} %, by /proc {oracle:.1f} % of a third")
        return abs(waited - (100 - oracle)) <= 8 and abs(used - oracle) <= 8 and waited >= LEAST

    # The kernel adds a wait when it ends: a long one, beside many processes, to another push.
    wait_for("the shares to agree", agree)
    clients.end()
