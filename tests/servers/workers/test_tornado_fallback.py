"""A fallback of tornado: a handler that passes a request on."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ServerFactory
from tests.lab.counted_requests import requests_of, wait_for_requests
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.worker_classes import TORNADO_OWN


def test_a_fallback_of_tornado(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """A request passed on to a WSGI app, or to another application, is one request."""
    (tmp_path / "falling_back.py").write_text(
        "from tornado.web import Application, FallbackHandler\n"
        "from tornado.wsgi import WSGIContainer\n"
        "from tests.lab.wsgi_app import app as wsgi\n"
        "from tests.lab.tornado_app import app as within\n"
        "app = Application([\n"
        "    ('/plain', FallbackHandler, {'fallback': WSGIContainer(wsgi)}),\n"
        "    ('.*', FallbackHandler, {'fallback': within}),\n"
        "])\n"
    )
    server = serve(
        newest,
        workers=1,
        arguments=(*TORNADO_OWN.arguments, "--pythonpath", str(tmp_path)),
        app="falling_back:app",
    )
    server.wait_until_it_serves()
    before = requests_of(server) or 0
    assert server.get("/plain") == b"constant"
    wait_for_requests(server, before + 1)
    assert server.get("/") == b"ok"
    wait_for_requests(server, before + 2)
