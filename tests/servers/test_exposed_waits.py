"""With ``request_wait`` each request reads its own wait, in every worker class."""

from __future__ import annotations

import json
import re
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.exposed_waits import Answer, Client
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nginx import nginx
from tests.lab.ports import free_port
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
    AIOHTTP_UVLOOP,
    ASGI_OWN,
    EVENTLET,
    GEVENT,
    GTHREAD,
    PYWSGI,
    SYNC,
    TORNADO_OWN,
    TORNADO_WSGI,
    UVICORN,
    UVICORN_FORMER,
    WorkerClass,
    label,
)

APPS = {"wsgi": "wsgi", "asgi": "asgi", "torn": "tornado", "aioh": "aiohttp"}
LOGGED = "wait=%({gunicorn_backlog.waited_ms}e)s path=%(U)s."
ONLY_LOGS = (SYNC, GTHREAD, GEVENT, PYWSGI)  # with gunicorn's access log and environ
NEWEST = {
    SYNC: "27.0.1",
    GTHREAD: "27.0.1",
    GEVENT: "27.0.1",
    EVENTLET: "25.3.0",
    PYWSGI: "27.0.1",
    TORNADO_WSGI: "27.0.1",
    TORNADO_OWN: "27.0.1",
    ASGI_OWN: "27.0.1",
    UVICORN: "27.0.1",
    UVICORN_FORMER: "27.0.1",
    AIOHTTP_ASYNCIO: "27.0.1",
    AIOHTTP_UVLOOP: "27.0.1",
}
IN_20_1_0 = (SYNC, GTHREAD, GEVENT, PYWSGI, TORNADO_WSGI, UVICORN)
BEHIND_NGINX = (SYNC, UVICORN)  # with new upstream connections, and with kept ones
CLIENTS, BLOCK_MS = 30, 10
TRIES = 3  # on a busy machine


@pytest.fixture
def exposing(
    installed: Callable[[str], Gunicorn], serve: ServerFactory, tmp_path: Path
) -> Callable[..., Server]:
    """Start servers with one worker and the setting, at a port and at a path."""

    def start(worker_class: WorkerClass, version: str, *, setting: str = "1") -> Server:
        log: tuple[str, ...] = ()
        if worker_class in ONLY_LOGS:  # aiohttp refuses the format
            log = ("--access-logfile", "-", "--access-logformat", LOGGED)
        environ = {"GUNICORN_BACKLOG_REQUEST_WAIT": setting, "SINK": str(tmp_path / "sink")}
        port = free_port()
        server = serve(
            installed(version),
            workers=1,
            arguments=(*worker_class.arguments, *log, "--keep-alive", "20"),
            app=f"tests.lab.exposing_apps:{APPS[worker_class.app[10:14]]}",
            environ=environ | {"GUNICORN_BACKLOG_INTERVAL": "60"},
            bind=(f"127.0.0.1:{port}", f"unix:{tmp_path}/app.sock"),
        )
        server.port, server.address = port, f"127.0.0.1:{port}"
        wait_for("an answer", lambda: answers_at(port))
        return server

    return start


def at_once(port: int) -> dict[str, Answer]:
    """Return the answers to clients that send two requests each, all at the same time.

    Servers that keep connections alive get the second request on the connection of the first.
    """
    ready, answers = threading.Barrier(CLIENTS), {}

    def run(number: int) -> None:
        with Client(port) as client:
            ready.wait()
            for turn in range(2):
                path = f"/{number}-{turn}"
                answers[path] = client.ask(f"{path}?{BLOCK_MS}")

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(run, range(CLIENTS)))
    return answers


def checked(name: str, port: int) -> dict[str, Answer]:
    """Return the answers to clients at once, whose waits agree with the stopwatches.

    All clients are measured again if the machine was too busy.
    """
    for left in reversed(range(TRIES)):
        answers = at_once(port)
        for answer in answers.values():
            answer.check_agrees()
        try:
            check_errors(name, answers)
        except AssertionError:
            if not left:
                raise
        else:
            break
    return answers


def check_errors(name: str, answers: dict[str, Answer]) -> None:
    """Compare the waits with the stopwatches; a busy machine may interrupt a few clients."""
    errors = [answer.error_ms for answer in answers.values()]
    longest_ms = max(answer.given or 0 for answer in answers.values())
    median_ms, worst_ms = statistics.median(errors), max(errors)
    print(f"{name}: waits to {longest_ms} ms, errors: {median_ms:.1f}, {worst_ms:.1f} ms")
    assert longest_ms > BLOCK_MS * CLIENTS / 4
    assert median_ms < 15
    assert worst_ms < 250


@forms("requests", short=150, long=20_000)
@pytest.mark.parametrize("worker_class", NEWEST, ids=label)
def test_each_request_reads_its_own_wait(
    requests: int, worker_class: WorkerClass, exposing: Callable[..., Server], tmp_path: Path
) -> None:
    """Thirty clients at once, also behind nginx, and a storm at the server's Unix socket.

    nginx keeps its connections to uvicorn, and opens new ones to sync workers.
    """
    version = NEWEST[worker_class]
    server = exposing(worker_class, version)
    check_at_once(worker_class, version, server, tmp_path)
    if worker_class in BEHIND_NGINX:
        with nginx(tmp_path, server.address) as port:
            checked(f"{worker_class.name}, nginx", port)
    check_storm(tmp_path / "app.sock", requests)


@pytest.mark.parametrize("worker_class", IN_20_1_0, ids=label)
def test_each_request_of_20_1_0_reads_its_own_wait(
    worker_class: WorkerClass, exposing: Callable[..., Server], tmp_path: Path
) -> None:
    """The same for clients at once."""
    check_at_once(worker_class, "20.1.0", exposing(worker_class, "20.1.0"), tmp_path)


def check_at_once(worker_class: WorkerClass, version: str, server: Server, folder: Path) -> None:
    """Thirty clients at once: the answers, the access log and the clients' stopwatches agree.

    So do threads, tasks and streamed bodies, and a task that outlives its request.
    """
    answers = checked(f"{worker_class.name} {version}", server.port)
    if worker_class in ONLY_LOGS:
        expected = {path: str(answer.given) for path, answer in answers.items()}
        wait_for("the access log", lambda: expected.items() <= logged(server).items())
    if worker_class.app != SYNC.app:
        wait_for("the tasks", lambda: len(outlived(folder)) >= 2 * CLIENTS)
        assert all(given == found for given, found in outlived(folder))
    assert server.our_lines == []


def answers_at(address: int | Path) -> bool:
    """Return whether a server answers there."""
    try:
        with Client(address) as client:
            return bool(client.ask("/"))
    except OSError:
        return False


def logged(server: Server) -> dict[str, str]:
    """Return the waits in gunicorn's access log, by path."""
    return {path: wait for wait, path in re.findall(r"wait=(\S+) path=(\S+)\.\n", server.log)}


def outlived(folder: Path) -> list[tuple[int | None, int | None]]:
    """Return the waits of requests, and of their tasks after the requests."""
    sink = folder / "sink"
    return [json.loads(line) for line in sink.read_text().splitlines()] if sink.exists() else []


def check_storm(path: Path, requests: int) -> None:
    """A storm at a Unix socket, where each request has a wait of its own making: its header.

    Waits of the requests in flight differ by 20 s. Every tenth request has no header and no wait.
    """
    clients, wrong = 10, []

    def storm(first: int) -> None:
        with Client(path) as client:
            for number in range(first, requests, clients):
                waited_s = 20 * (number % 29)
                start = f"t={time.time() - waited_s:.3f}"
                has_header = number % 10 != 0 or first != 0
                answer = client.ask(f"/{number}", {"X-Request-Start": start} if has_header else {})
                answer.check_agrees()
                if has_header and not is_near(answer, waited_s):
                    wrong.append((number, answer))
                if not has_header and answer.given is not None:
                    wrong.append((number, answer))

    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(storm, range(clients)))
    assert wrong == []


def is_near(answer: Answer, waited_s: int) -> bool:
    """Return whether a wait is a request's own; a busy machine may add some seconds."""
    return answer.given is not None and 0 <= answer.given - 1000 * waited_s < 10_000


@pytest.mark.parametrize("worker_class", [SYNC, UVICORN, AIOHTTP_ASYNCIO], ids=label)
def test_without_the_setting(worker_class: WorkerClass, exposing: Callable[..., Server]) -> None:
    """No key, no value, and a dash in the access log."""
    check_without(worker_class, exposing(worker_class, "27.0.1", setting="0"))


def check_without(worker_class: WorkerClass, server: Server) -> None:
    """Check a request of a server without the setting."""
    with Client(server.port) as client:
        answer = client.ask("/quiet")
    assert answer.given is None
    answer.check_agrees()
    if worker_class in ONLY_LOGS:
        wait_for("the access log", lambda: logged(server).get("/quiet") == "-")


def test_a_reload_changes_the_setting(exposing: Callable[..., Server]) -> None:
    """New workers follow the config of a HUP; a request that fails before the app has a dash."""
    server = exposing(GTHREAD, "27.0.1", setting="")

    def given() -> int | None:
        with Client(server.port) as client:
            return client.ask("/").given

    check_without(GTHREAD, server)
    config = server.config.read_text()
    server.reload(f"{config}import gunicorn_backlog\ngunicorn_backlog.configure(request_wait=True)")
    wait_for("the setting", lambda: given() is not None)
    with ExitStack() as stack:
        client = stack.enter_context(server.connect())
        client.sendall(b"GET /junk HTTP/1.1\r\nHost: test\r\nContent-Length: -\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400")
    assert logged(server).get("/junk", "-") == "-"
