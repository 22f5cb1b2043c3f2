"""Exits of workers, each cause brought about deliberately."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY, nightly
from tests.lab.procfs import has_own_handlers
from tests.lab.pushes import Push, next_pushes, pushes
from tests.lab.server import CONFIG, Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

EXITED = "gunicorn.workers.exited"
REASONS = {"asked", "recycled", "timeout", "oom", "killed", "crashed", "boot", "unknown"}
MAX_REQUESTS = 3
WSGI, ASGI = "tests.lab.exits_app:app", "tests.lab.exits_app:asgi_app"
# uvicorn's worker handles signals in the same way over each gunicorn.
CASES = [
    ("20.1.0", "sync", WSGI),
    ("20.1.0", "gthread", WSGI),
    ("20.1.0", "uvicorn_worker.UvicornWorker", ASGI),
    ("27.0.1", "sync", WSGI),
    ("27.0.1", "gthread", WSGI),
    nightly("27.0.1", "uvicorn_worker.UvicornWorker", ASGI),
    ("27.0.1", "asgi", ASGI),
]
# In a storm the version counts, which reaps, and the class, which exits; not the pair of both.
STORMS = [
    ("20.1.0", "sync", WSGI),
    nightly("20.1.0", "gthread", WSGI),
    ("20.1.0", "uvicorn_worker.UvicornWorker", ASGI),
    nightly("27.0.1", "sync", WSGI),
    ("27.0.1", "gthread", WSGI),
    nightly("27.0.1", "uvicorn_worker.UvicornWorker", ASGI),
    ("27.0.1", "asgi", ASGI),
]
V1 = Path("/sys/fs/cgroup/memory")


def exits(received: list[Push]) -> Counter[str]:
    """Return the exits of these pushes by reason."""
    found: Counter[str] = Counter()
    for push in received:
        found.update(exits_in(push))
    return found


@lru_cache(maxsize=1024)
def exits_in(push: Push) -> Counter[str]:
    """Return the exits of a push by reason; it has each reason."""
    lines = push.all(EXITED)
    assert {line.tag("reason") for line in lines} == REASONS
    return +Counter({line.tag("reason") or "": int(line.values[0]) for line in lines})


def check_sums(received: list[Push]) -> None:
    """Assert that after each push all exits are all forks less the living workers."""
    spawned = 0.0
    gone: Counter[str] = Counter()
    for push in received:
        spawned += push.values("gunicorn.workers.spawned")[0]
        gone += exits([push])
        alive = sum(push.workers.values())
        assert gone.total() == spawned - alive, push.lines


def ready_worker(server: Server, agent: StandInAgent) -> int:
    """Return the pid of the only worker when it serves."""

    def ready() -> int | None:
        pids = server.worker_pids()
        if len(pids) != 1 or not all(map(has_own_handlers, pids)):
            return None
        return next(iter(pids)) if next_pushes(agent, 1)[0].workers.get("idle") == 1 else None

    return wait_for(f"a worker: {server.log[-2000:]}", ready)


def get(server: Server, path: str) -> None:
    """Send a request whose worker may not answer."""
    with suppress(OSError):
        server.get(path)


def ask(server: Server, pid: int) -> None:
    """Make the arbiter stop its oldest worker."""
    server.signal(signal.SIGTTIN)
    both = wait_for("a second worker", server.both_worker_pids)
    wait_for("it to handle signals", lambda: all(map(has_own_handlers, both)))
    server.signal(signal.SIGTTOU)


def recycle(server: Server, pid: int) -> None:
    """Send as many requests as the worker serves."""
    for _ in range(MAX_REQUESTS):
        get(server, "/")


def hang(server: Server, pid: int) -> None:
    """Stop all threads of the worker once it beats: before its first beat gunicorn has no timeout.

    A request that blocks would leave gthread's main thread running.
    """
    server.get("/")
    os.kill(pid, signal.SIGSTOP)


CAUSES: list[tuple[str, Callable[[Server, int], None]]] = [
    ("asked", ask),
    ("recycled", recycle),
    ("timeout", hang),
    ("killed", lambda _, pid: os.kill(pid, signal.SIGKILL)),
    ("crashed", lambda server, _: get(server, "/exit/7")),
    ("crashed", lambda server, _: get(server, f"/signal/{int(signal.SIGSEGV)}")),
]


def environ_for(agent: StandInAgent) -> dict[str, str]:
    """Return the settings of the servers."""
    return {
        "GUNICORN_BACKLOG_URL": agent.url,
        "GUNICORN_BACKLOG_INTERVAL": "0.1",
        "GUNICORN_BACKLOG_SAMPLES": "2",
    }


@pytest.mark.parametrize(("version", "worker_class", "app"), CASES)
@forms("rounds", short=1, long=10)
def test_each_cause_is_reported(
    version: str,
    worker_class: str,
    app: str,
    rounds: int,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Each cause counts once with its reason, and nothing else counts; one line names a signal."""
    server = serve(
        installed(version),
        workers=1,
        app=app,
        arguments=(
            *("--worker-class", worker_class, "--timeout", "4"),
            *("--max-requests", str(MAX_REQUESTS), "--threads", "2"),
        ),
        environ=environ_for(agent),
    )
    expected: Counter[str] = Counter()
    for reason, bring_about in CAUSES * rounds:
        pid = ready_worker(server, agent)
        bring_about(server, pid)
        expected[reason] += 1
        wait_for(
            f"{reason}, not {exits(pushes(agent)) - expected}",
            lambda: exits(pushes(agent)).total() >= expected.total(),
        )
        assert exits(pushes(agent)) == expected
    ready_worker(server, agent)
    assert exits(pushes(agent)) == expected
    check_sums(pushes(agent))
    (line,) = [line for line in server.our_lines if "was killed by" in line]
    assert "SIGKILL, which gunicorn did not send" in line


@pytest.mark.parametrize(
    ("gunicorn", "code"),
    [(VERSIONS[0], 3), nightly(VERSIONS[0], 4), nightly(VERSIONS[-1], 3), (VERSIONS[-1], 4)],
    indirect=["gunicorn"],
)
def test_a_failed_boot_halts_gunicorn(
    code: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker that exits with 3 or 4 halts gunicorn, which exits with this code: ``boot``."""
    config = f"""
from gunicorn_backlog.hooks import *
import os, sys
def post_fork(server, worker):
    if worker.age > 2:
        sys.exit({code})
"""
    server = serve(gunicorn, config=config, environ=environ_for(agent)).wait_until_it_serves()
    next_pushes(agent, 1)
    os.kill(min(server.worker_pids()), signal.SIGKILL)
    assert server.process.wait(timeout=40) == code
    wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))
    found = exits(pushes(agent))
    assert found["killed"] == 1
    assert found["boot"] == 1
    assert found.total() == found["killed"] + found["boot"] + found["asked"]
    assert found["asked"] <= 1  # the push may precede the end of the other worker
    check_sums(pushes(agent))


@forms("times", short=2, long=100)
def test_failed_boots_amid_forks_halt_gunicorn(
    times: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Workers that fail to boot while others are forked halt gunicorn each time.

    Without us, too, a second failure during gunicorn's ``stop`` may end it by its own HaltServer,
    and Python ignores one that is raised while a fork handler of ``logging`` runs.
    """
    config = f"{CONFIG}import sys\ndef post_fork(server, worker): sys.exit(3)\n"
    for _ in range(times):
        server = serve(gunicorn, workers=6, config=config, environ=environ_for(agent))
        code = server.process.wait(timeout=40)
        halted = "gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>"
        assert code == 3 or (code == 1 and server.log.count(halted) in (2, 3)), server.log


def test_a_status_that_is_lost_is_unknown(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker that dies between our look and gunicorn's reap counts as unknown."""
    config = """
from gunicorn_backlog.hooks import *
import os, signal
def child_exit(server, worker):
    other = min(server.WORKERS, default=None)
    if worker.age == 1 and other is not None:
        os.kill(other, signal.SIGKILL)
        os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
"""
    server = serve(newest, config=config, environ=environ_for(agent)).wait_until_it_serves()
    next_pushes(agent, 1)
    os.kill(min(server.worker_pids()), signal.SIGKILL)
    wait_for("both exits", lambda: exits(pushes(agent)).total() == 2)
    assert exits(pushes(agent)) == {"killed": 1, "unknown": 1}


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """Yield a cgroup (v1) that may use 200 MB."""
    folder = V1 / f"gunicorn-backlog-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(200 << 20))
    except OSError as error:
        pytest.skip(f"no memory controller of cgroup v1: {error}")
    yield folder
    wait_for("its processes to end", lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


@NEWEST_BY_DAY
def test_the_oom_killer(
    cgroup: Path, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker killed by the OOM killer of its cgroup, and one by a plain SIGKILL."""
    run_by = ("sh", "-c", f'echo $$ > {cgroup}/cgroup.procs && exec "$@"', "sh")
    server = serve(gunicorn, workers=1, app=WSGI, run_by=run_by, environ=environ_for(agent))
    ready_worker(server, agent)
    get(server, "/eat")
    wait_for("an exit", lambda: exits(pushes(agent)))
    os.kill(ready_worker(server, agent), signal.SIGKILL)
    wait_for("another", lambda: exits(pushes(agent)).total() == 2)
    assert exits(pushes(agent)) == {"oom": 1, "killed": 1}
    (line,) = [line for line in server.our_lines if "was killed by" in line]
    assert "SIGKILL, which gunicorn did not send, the OOM killer of its cgroup" in line


@pytest.mark.parametrize(("version", "worker_class", "app"), STORMS)
@forms("deaths", short=20, long=1000)
def test_a_storm(
    version: str,
    worker_class: str,
    app: str,
    deaths: int,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Many exits at a time: after each push the exits are the forks less the living workers."""
    server = serve(
        installed(version),
        workers=8,
        app=app,
        arguments=(
            *("--worker-class", worker_class, "--graceful-timeout", "3"),
            *("--max-requests", str(MAX_REQUESTS), "--threads", "2"),
        ),
        environ=environ_for(agent),
    ).wait_until_it_serves()
    causes = ("/exit/7", f"/signal/{int(signal.SIGSEGV)}", *["/"] * 30)
    while (gone := exits(pushes(agent))).total() < deaths:
        for cause in causes:
            get(server, cause)
        for pid in list(server.worker_pids())[:3]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if len(server.worker_pids()) == 8:
            server.signal(signal.SIGHUP)
    check_sums(pushes(agent))
    print(f"{version} {worker_class}: {dict(gone)}")
    assert gone["unknown"] <= 0.02 * gone.total() + 1
