"""What we import in the arbiter for ourselves is not there for the app, to be stumbled over."""

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
    """Says hello."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def https(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Serve HTTPS; return the variables by which the app finds it, and trusts it."""
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


@pytest.mark.parametrize("worker_class", [SYNC, GTHREAD, GEVENT, PYWSGI], ids=lambda it: it.name)
def test_an_app_that_asks_others_by_https(
    worker_class: WorkerClass,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    https: dict[str, str],
) -> None:
    """It can: gevent has patched what requests finds, for nobody had imported that before."""
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
