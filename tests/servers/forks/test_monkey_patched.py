"""An arbiter patched by gevent or eventlet: an OS thread there, and no copy in workers."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.first_request_app import METRIC
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.procfs import our_threads
from tests.lab.pushes import latest, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_interval import EVERY_50_MS, SHORT_CONFIG
from tests.lab.ss import ss
from tests.lab.thread_traces_app import udp_sockets_to
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import EVENTLET, GEVENT, SYNC, WORKERS, WorkerClass
from tests.servers.workers.test_counts import check, settled

Patching = Callable[[str, WorkerClass, Gunicorn], "Patched"]

GEVENT_ALL = "from gevent import monkey; monkey.patch_all()\n"
EVENTLET_ALL = "import eventlet; eventlet.monkey_patch()\n"
EVENTLET_BUT_OS = "import eventlet; eventlet.monkey_patch(os=False)\n"
IMPORTED_ONCE = "import datadog\n"  # otherwise most of the work of each new worker
CRITICAL = (2,)
HELD = (1, 5)  # and none, after each
# The arbiter's patch, and the class before and after a reload.
CASES = [
    *(
        pytest.param(GEVENT_ALL, (GEVENT, SYNC), version, id=f"gevent-{version}")
        for version in VERSIONS
    ),
    pytest.param(EVENTLET_BUT_OS, (EVENTLET, EVENTLET), "23.0.0", id="eventlet-23.0.0"),
]


class Patched(NamedTuple):
    """A server with a patched arbiter, our Agent, and the app's Agent."""

    server: Server
    agent: StandInAgent
    apps_agent: StandInAgent

    def check_at_work(self, worker_class: WorkerClass) -> None:
        """Assert that workers have no copy of our thread, and that all numbers are exact."""
        check_traces(self.server, self.agent)
        for clients in HELD:
            check_numbers(self.server, self.agent, worker_class, clients)
        check_the_apps_metrics(self.server, self.apps_agent)
        assert "Traceback" not in self.server.log


@pytest.fixture
def apps_agent(listen: AgentFactory) -> StandInAgent:
    """The Agent of the app's own metric."""
    return listen()


@pytest.fixture
def patched(serve: ServerFactory, agent: StandInAgent, apps_agent: StandInAgent) -> Patching:
    """Return a function that starts a server whose config begins with a patch."""

    def start(patch: str, worker_class: WorkerClass, gunicorn: Gunicorn) -> Patched:
        server = serve(
            gunicorn,
            config=patch + config_of(worker_class),
            app="tests.lab.thread_traces_app:app",
            environ=EVERY_50_MS
            | {"GUNICORN_BACKLOG_URL": agent.url, "APP_STATSD_PORT": str(port(apps_agent))},
        )
        wait_until_all_are_idle(agent)
        return Patched(server, agent, apps_agent)

    return start


@pytest.mark.parametrize(("patch", "classes", "version"), CASES)
def test_a_patched_arbiter(
    patch: str,
    classes: tuple[WorkerClass, WorkerClass],
    version: str,
    installed: Callable[[str], Gunicorn],
    patched: Patching,
) -> None:
    """An OS thread, no copy in workers, exact numbers, and the app's own metrics.

    The same holds after a kill, and after a reload with another class. The log has no traceback at
    the end.
    """
    first, second = classes
    under_test = patched(patch, first, installed(version))
    under_test.check_at_work(first)
    kill_a_worker(under_test.server, under_test.agent)
    check_traces(under_test.server, under_test.agent)
    replace_workers(under_test.server, under_test.agent, patch + config_of(second))
    under_test.check_at_work(second)
    under_test.server.signal(signal.SIGTERM)
    assert under_test.server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: is_running(under_test.agent) == CRITICAL)
    assert "Traceback" not in under_test.server.log


def test_an_arbiter_with_all_of_eventlet_s_patches(
    installed: Callable[[str], Gunicorn], patched: Patching
) -> None:
    """The same until the first signal, at which this arbiter ends, with us and without.

    eventlet's ``os.write`` raises in the signal handler that wakes the arbiter.
    """
    patched(EVENTLET_ALL, EVENTLET, installed("23.0.0")).check_at_work(EVENTLET)


def config_of(worker_class: WorkerClass) -> str:
    """Return the config of a server with this class, without a patch."""
    return f"{SHORT_CONFIG}{IMPORTED_ONCE}worker_class = {worker_class.name!r}\n"


def is_running(agent: StandInAgent) -> tuple[float, ...]:
    """Return the status of the latest service check."""
    return latest(agent).values("gunicorn.is_running")


def port(agent: StandInAgent) -> int:
    """Return the port of the Agent."""
    return int(agent.url.rpartition(":")[2])


def check_traces(server: Server, agent: StandInAgent) -> None:
    """Assert that the thread and its socket are in the arbiter, and in no worker."""
    assert len(our_threads(server.pid)) == 1
    assert udp_sockets_to(port(agent), server.pid) == 1
    workers = server.worker_pids()
    for pid in workers:
        assert our_threads(pid) == []
        assert udp_sockets_to(port(agent), pid) == 0
    found: dict[int, int] = {}
    wait_for("both workers to count", lambda: count_copies(server, found) >= workers)
    print(f"copies of our thread by worker: {found}")
    assert set(found.values()) == {0}


def count_copies(server: Server, found: dict[int, int]) -> set[int]:
    """Let one worker count copies of our thread; return the pids that did so far."""
    pid, copies = map(int, server.get("/traces").split())
    found[pid] = copies
    return set(found)


def check_numbers(
    server: Server, agent: StandInAgent, worker_class: WorkerClass, clients: int
) -> None:
    """Hold ``clients`` requests, and compare pushes with the app and ``ss``."""
    server.hold(clients)
    wait_for(f"{clients} clients to settle", partial(settled, server, agent, clients))
    held = server.journal.in_flight()
    for push in next_pushes(agent, 3):
        check(push, worker_class, clients, ss(server.address).recv_q, held)
    server.let_go()
    wait_until_all_are_idle(agent, WORKERS)
    check(next_pushes(agent, 1)[0], worker_class, 0, 0, Counter())


def check_the_apps_metrics(server: Server, apps_agent: StandInAgent) -> None:
    """Assert that the app's metric of each worker arrives once, at its first request."""
    before = apps_metrics(apps_agent)
    answered: set[bytes] = set()

    def both_answered() -> bool:
        answered.add(server.get("/first"))
        return len(answered) == WORKERS

    wait_for("both workers to answer", both_answered)
    wait_for("their metrics", lambda: apps_metrics(apps_agent) == before + WORKERS)


def apps_metrics(apps_agent: StandInAgent) -> int:
    """Return the number of the app's metrics."""
    sent = [line for datagram in apps_agent.datagrams for line in datagram.lines]
    assert not [line for line in sent if line.name.startswith("gunicorn.")]
    return sum(line.name == METRIC for line in sent)


def kill_a_worker(server: Server, agent: StandInAgent) -> None:
    """Kill a worker, and wait until another one is idle."""
    before = server.worker_pids()
    os.kill(min(before), signal.SIGKILL)
    wait_for("another worker", lambda: server.worker_pids() - before)
    wait_until_all_are_idle(agent)


def replace_workers(server: Server, agent: StandInAgent, config: str) -> None:
    """Reload another config, so that all workers are new."""
    before = server.worker_pids()
    server.reload(config)
    wait_for("new workers", lambda: server.worker_pids().isdisjoint(before))
    wait_until_all_are_idle(agent)
