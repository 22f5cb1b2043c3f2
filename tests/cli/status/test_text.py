"""The text of ``status`` and ``top`` about event loops, pools of threads, and several queues."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cli.top.test_top import SMALL, terminal
from tests.conftest import ServerFactory
from tests.lab.cli_in_process import run_here, status_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import Server
from tests.lab.ss import ss_port
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, UVICORN

BLOCK_S = 4
FULL = "0 idle, {} working, {} queued before them"


def text_of(server: Server, *patterns: str) -> bool:
    """Return whether the text of ``status`` has lines that match all of these patterns."""
    done = run_here("status", str(server.pid), "--seconds", "0.2")
    assert done.code == 0, done
    return all(re.search(pattern, done.out, re.MULTILINE) for pattern in patterns)


def test_a_pool_behind_a_loop(newest: Gunicorn, serve: ServerFactory) -> None:
    """A full pool appears for all workers and for its worker, and in ``pools`` of the JSON."""
    server = serve(
        newest,
        workers=1,
        arguments=UVICORN.arguments,
        app="tests.lab.pool_apps:with_fastapi()",
        environ={"LIMIT": "3"},
    ).wait_until_it_serves()
    server.hold(5)
    lines = (f"^pool anyio +{FULL.format(3, 2)}$", "^ *[0-9]+ .* anyio 3/3 [+]2$", "^loop delay ")
    wait_for("the pool", lambda: text_of(server, *lines))
    (worker,) = status_here(server.pid)["workers"]
    assert worker["pools"] == {"anyio": {"idle": 0, "working": 3, "queued": 2}}
    server.let_go()


def test_a_blocked_loop(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """``status`` and ``top`` show since when a loop is blocked, while the block lasts."""
    server = serve(
        newest, workers=1, arguments=UVICORN.arguments, app="tests.lab.duty_app:asgi"
    ).wait_until_it_serves()
    wait_for("the loop", lambda: text_of(server, r"^ *[0-9]+ .* -$"))
    with (
        terminal(tmp_path, SMALL, str(server.pid), "--seconds", "0.2") as screen,
        ThreadPoolExecutor(1) as pool,
    ):
        screen.wait_until_it_shows("q quit")
        answer = pool.submit(server.get, f"/block/{BLOCK_S}")
        wait_for("the block", lambda: text_of(server, r"^ *[0-9]+ .* blocked [1-3]\.\d s$"))
        shown = screen.wait_until_it_shows("blocked 2.")
        assert re.search(r"blocked 2\.\d s", shown)
        assert not answer.done()
        assert answer.result() == b"ok"
    wait_for("the end of the block", lambda: text_of(server, r"^ *[0-9]+ .* -$"))


def test_the_pool_of_gthread(newest: Gunicorn, serve: ServerFactory) -> None:
    """Its threads have no name, as before other pools existed."""
    server = serve(newest, workers=1, arguments=GTHREAD.arguments).wait_until_it_serves()
    server.hold(3)
    wait_for("the pool", lambda: text_of(server, f"^threads +{FULL.format(2, 1)}$"))
    server.let_go()


def test_a_queue_for_each_worker(newest: Gunicorn, serve: ServerFactory) -> None:
    """With ``reuse_port`` the length is the sum, followed by the longest queue."""
    server = serve(newest, arguments=("--reuse-port",)).wait_until_it_serves()
    wait_for("both sockets", lambda: len(ss_port(server.port)) == 2)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGSTOP)
    server.hold(8)
    wait_for("the connections", lambda: sum(it.recv_q for it in ss_port(server.port)) == 8)
    longest = max(it.recv_q for it in ss_port(server.port))
    assert text_of(server, rf"^{server.address} +8 \(longest {longest}\) ")
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGCONT)
