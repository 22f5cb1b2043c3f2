"""Workers that hang: the age of their heartbeat, and the busiest worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import nightly
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for
from tests.servers.workers.test_exit_causes import ASGI, WSGI

USED, BUSIEST = "gunicorn.workers.timeout_used", "gunicorn.workers.busiest"
BY_DAY = [
    ("20.1.0", "sync", WSGI),
    ("20.1.0", "uvicorn_worker.UvicornWorker", ASGI),
    ("27.0.1", "sync", WSGI),
    ("27.0.1", "asgi", ASGI),
]
AT_NIGHT = [("27.0.1", "uvicorn_worker.UvicornWorker", ASGI)]


class Run(NamedTuple):
    """A server with a timeout."""

    version: str
    worker_class: str
    timeout_s: int
    server: Server
    agent: StandInAgent


@pytest.mark.parametrize(
    "cases", [pytest.param(BY_DAY, id="by day"), nightly(AT_NIGHT, id="at night")]
)
@forms("timeout_s", short=10, long=30)
def test_blocked_workers_approach_their_timeout(
    cases: Sequence[tuple[str, str, str]],
    timeout_s: int,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    listen: AgentFactory,
) -> None:
    """Idle below 60 %; a block near the timeout is seen, and the worker survives.

    All cases run at the same time, because most of the time their servers wait.
    """
    runs = []
    for version, worker_class, app in cases:
        agent = listen()
        server = serve(
            installed(version),
            app=app,
            arguments=("--worker-class", worker_class, "--timeout", str(timeout_s)),
            environ={"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.5"},
        )
        runs.append(Run(version, worker_class, timeout_s, server, agent))
    with ThreadPoolExecutor() as pool:
        failures = [done.exception() for done in [pool.submit(check, run) for run in runs]]
    for run, failure in zip(runs, failures, strict=True):
        if failure is not None:
            raise AssertionError(f"gunicorn {run.version}, {run.worker_class}") from failure


def check(run: Run) -> None:
    """Check one server, idle and with a block."""
    version, worker_class, timeout_s, server, agent = run
    server.wait_until_it_serves()
    wait_until_all_are_idle(agent)
    # A worker beats twice per timeout. The first age of uvicorn counts from the fork.
    idle = next_pushes(agent, 2 * timeout_s + 4)[-timeout_s - 4 :]
    assert max(push.values(USED)[0] for push in idle) < 60
    assert max(push.values(BUSIEST)[0] for push in idle) < 60

    workers, seen = server.worker_pids(), len(pushes(agent))
    # The latest beat of a loop was up to 1 s before the block, or half a timeout with uvicorn.
    since_beat_s = {"sync": 0, "asgi": 1}.get(worker_class, timeout_s // 2)
    block_s = {10: 8, 30: 27}[timeout_s] if since_beat_s <= 1 else 4 * timeout_s // 10
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(server.get(f"/block/{block_s}")))
    client.start()
    client.join(40)
    wait_for("the end", lambda: next_pushes(agent, 1)[0].values(USED)[0] < 60)
    received = pushes(agent)[seen:]
    peak = max(push.values(USED)[0] for push in received)
    print(f"{version} {worker_class}: {peak} % after {block_s} s of {timeout_s} s")
    least = 100 * block_s / timeout_s
    assert least - 5 <= peak <= least + 100 * since_beat_s / timeout_s + 10
    assert answers
    assert server.worker_pids() == workers
    assert max(push.values(BUSIEST)[0] for push in received) > 95
    assert max(push.values("gunicorn.workers.utilization")[0] for push in received) < 75


def test_without_a_timeout_there_is_no_share(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """If gunicorn kills no worker, the metric is absent."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    serve(newest, arguments=("--timeout", "0"), environ=environ).wait_until_it_serves()
    (push,) = next_pushes(agent, 1)
    assert push.all(USED) == []
