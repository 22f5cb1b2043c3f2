"""Modules that we import in the arbiter do not break the app's imports."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import trustme
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GEVENT, GTHREAD, PYWSGI, SYNC, UVICORN, WorkerClass, label

CLIENTS = 4
CLASSES = (GEVENT, PYWSGI, GTHREAD, SYNC)
CASES = [
    pytest.param(VERSIONS[0], (GEVENT, SYNC), id=VERSIONS[0]),
    pytest.param(VERSIONS[-1], CLASSES, id=VERSIONS[-1]),
    nightly(VERSIONS[0], CLASSES, id=f"{VERSIONS[0]}, all"),
]
NOT_OURS_TO_IMPORT = {"datadog", "requests", "urllib3"}


class Hello(http.server.BaseHTTPRequestHandler):
    """Answers each request with hello."""

    def do_GET(self) -> None:
        """Send the answer."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def https(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Serve HTTPS; yield the variables with the server's URL and certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {
            "FETCH": f"https://localhost:{server.server_port}",
            "CA": str(tmp_path / "ca.pem"),
        }
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("version", "classes"), CASES)
def test_an_app_that_is_an_https_client(
    version: str,
    classes: Sequence[WorkerClass],
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
    https: dict[str, str],
) -> None:
    """The app's requests use the ssl module that gevent patched: we did not import it before.

    HUPs take one arbiter through the classes, so that our imports precede gevent's, too.
    """
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"} | https
    first, *others = classes
    server = serve(
        installed(version),
        workers=1,
        config=config_of(first),
        environ=environ,
        app="tests.lab.https_client_app:app",
    )
    check_client(server, agent)
    for worker_class in others:
        former = server.worker_pids()
        server.reload(config_of(worker_class))
        wait_for("the class", partial(has_new_worker, server, former))
        check_client(server, agent)
    assert "MonkeyPatchWarning" not in server.log
    assert "Traceback" not in server.log


def config_of(worker_class: WorkerClass) -> str:
    """Return the config of a server with this class."""
    threads = f"threads = {worker_class.threads}\n" if worker_class.threads else ""
    return f"{CONFIG}worker_class = {worker_class.name!r}\n{threads}"


def has_new_worker(server: Server, former: set[int]) -> bool:
    """Return whether the only worker was forked after the former one."""
    pids = server.worker_pids()
    return len(pids) == 1 and pids.isdisjoint(former)


def check_client(server: Server, agent: StandInAgent) -> None:
    """Assert that the app did not find our packages imported, and that its requests succeed."""
    wait_until_all_are_idle(agent, 1)
    imported = {name.partition(".")[0] for name in server.get("/modules").decode().split()}
    assert not imported & NOT_OURS_TO_IMPORT
    answers: list[bytes] = []
    clients = [
        threading.Thread(target=lambda: answers.append(server.get("/"))) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert answers == [b"hello"] * CLIENTS


@pytest.mark.parametrize("worker_class", [GEVENT, UVICORN], ids=label)
def test_a_reload_imports_no_fork_handlers_during_a_fork(
    worker_class: WorkerClass, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Python would run a handler after the fork without its counterpart before, and print errors.

    The arbiter imports what the reloaded class needs right before it forks the first worker.
    """
    server = serve(
        newest,
        workers=1,
        config=config_of(SYNC),
        app=worker_class.app,
        environ={"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"},
    )
    wait_until_all_are_idle(agent, 1)
    former = server.worker_pids()
    server.reload(config_of(worker_class))
    wait_for("the class", partial(has_new_worker, server, former))
    wait_until_all_are_idle(agent, 1)
    assert "Exception ignored" not in server.log
    assert "Traceback" not in server.log
