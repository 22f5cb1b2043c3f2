"""Modules that we import in the arbiter do not break the app's imports."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.worker_classes import GEVENT, GTHREAD, PYWSGI, SYNC, WorkerClass

CLIENTS = 4
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


@pytest.mark.parametrize(
    "worker_class", [SYNC, GTHREAD, GEVENT, PYWSGI], ids=lambda each: each.name
)
def test_an_app_that_is_an_https_client(
    worker_class: WorkerClass,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    https: dict[str, str],
) -> None:
    """The app's requests use the ssl module that gevent patched: we did not import them before."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"} | https
    server = serve(
        gunicorn,
        environ=environ,
        arguments=worker_class.arguments,
        app="tests.lab.https_client_app:app",
    )
    wait_until_all_are_idle(agent)
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
    assert "MonkeyPatchWarning" not in server.log
    assert "Traceback" not in server.log
