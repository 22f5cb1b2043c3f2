"""Thread pools behind event loops: working and queued calls, against the app's own journal."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import Push, latest, pushes
from tests.lab.short_interval import EVERY_20_MS, SHORT_INTERVALS
from tests.lab.waiting import wait_for

ASYNCIO = "tests.lab.worker_subclasses.AsyncioUvicorn"
UVLOOP = "tests.lab.worker_subclasses.UvloopUvicorn"
CLIENTS = 60
DEFAULT_THREADS = 5  # set in the app's config: the default depends on the machine


class Case(NamedTuple):
    """A pool, and how its app is served."""

    worker_class: str
    app: str
    pool: str
    working: int
    has_idle: bool = True
    path: str = "/hold"
    environ: dict[str, str] = {}  # noqa: RUF012  # a NamedTuple's default, never changed
    arguments: tuple[str, ...] = ()


FASTAPI, DJANGO = "tests.lab.pool_apps:with_fastapi()", "tests.lab.pool_apps:with_django()"
EXECUTOR, GEVENT = "tests.lab.pool_apps:in_executor", "tests.lab.pool_apps:in_gevent"
TO_THREAD = "/to-thread"
CASES = {
    "FastAPI on uvloop": Case(UVLOOP, FASTAPI, "anyio", 40),
    "FastAPI on asyncio": Case(ASYNCIO, FASTAPI, "anyio", 40),
    "FastAPI, limiter of 10": Case(UVLOOP, FASTAPI, "anyio", 10, environ={"LIMIT": "10"}),
    "Django": Case(UVLOOP, DJANGO, "asgiref", CLIENTS, has_idle=False),
    "executor of asyncio": Case(ASYNCIO, EXECUTOR, "default", DEFAULT_THREADS),
    "executor of uvloop": Case(UVLOOP, EXECUTOR, "default", DEFAULT_THREADS),
    "to_thread on uvloop": Case(UVLOOP, EXECUTOR, "default", DEFAULT_THREADS, path=TO_THREAD),
    "executor in the asgi worker": Case("asgi", EXECUTOR, "default", DEFAULT_THREADS),
    "gevent": Case("gevent", GEVENT, "gevent", 10),
}
CONFIG = f"""{SHORT_INTERVALS}
import os
os.cpu_count = lambda: {DEFAULT_THREADS - 4}  # ThreadPoolExecutor adds 4
os.process_cpu_count = os.cpu_count
from gunicorn_backlog.hooks import *
"""


def pool(push: Push, name: str) -> dict[str, float]:
    """Return a push's counts of a pool."""
    tag = f"pool:{name}"
    found = {line.tag("state") or "": line.values[0] for line in push.all("gunicorn.threads", tag)}
    for line in push.all("gunicorn.threads.queued", tag):
        found["queued"] = line.values[0]
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_working_and_queued_calls(
    case: Case, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A pool is absent until the app uses it; then working calls are those of the app's journal."""
    server = serve(
        newest,
        workers=1,
        config=CONFIG,
        app=case.app,
        arguments=("--worker-class", case.worker_class, *case.arguments),
        environ={
            "GUNICORN_BACKLOG_URL": agent.url,
            **EVERY_20_MS,
            **case.environ,
        },
    ).wait_until_it_serves()
    wait_for("a push", lambda: len(pushes(agent)) > 2)
    before = {} if "LIMIT" not in case.environ else {"idle": 10, "working": 0, "queued": 0}
    wait_for("the idle pool", lambda: pool(latest(agent), case.pool) == before)

    server.hold(CLIENTS, case.path)
    wait_for("the calls", lambda: server.journal.in_flight().total() == case.working)
    full = {"working": case.working, "queued": CLIENTS - case.working}
    full |= {"idle": 0} if case.has_idle else {}
    wait_for("the pool's counts", lambda: pool(latest(agent), case.pool) == full)
    done = run_here("status", str(server.pid), "--json", "--seconds", "0.1")
    assert json.loads(done.out)["pools"] == {case.pool: {"idle": None} | full}

    server.let_go()
    freed = {"working": 0, "queued": 0} | ({"idle": case.working} if case.has_idle else {})
    wait_for("a free pool", lambda: pool(latest(agent), case.pool) == freed)
    names = {line.tag("pool") for push in pushes(agent) for line in push.all("gunicorn.threads")}
    assert names == {case.pool}


def test_a_cancelled_call_is_not_queued_for_ever(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Clients that go away while their calls wait leave no count behind."""
    server = serve(
        newest,
        workers=1,
        config=CONFIG,
        app=EXECUTOR,
        arguments=("--worker-class", ASYNCIO),
        environ={"GUNICORN_BACKLOG_URL": agent.url} | EVERY_20_MS,
    ).wait_until_it_serves()
    server.hold(20)
    wait_for("a queue", lambda: pool(latest(agent), "default").get("queued") == 15)
    server.abandon()
    server.release.touch()
    freed = {"idle": 5, "working": 0, "queued": 0}
    wait_for("a free pool", lambda: pool(latest(agent), "default") == freed)
