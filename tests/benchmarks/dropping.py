"""Receivers that drop reports: exporters of OpenTelemetry, and an HTTP server for judoscale."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any


def spans() -> Any:
    """Return an exporter that drops spans."""
    export = import_module("opentelemetry.sdk.trace.export")
    return _dropping(export.SpanExporter, export.SpanExportResult.SUCCESS)


def metrics() -> Any:
    """Return an exporter that drops metrics."""
    export = import_module("opentelemetry.sdk.metrics.export")
    return _dropping(export.MetricExporter, export.MetricExportResult.SUCCESS)


def _dropping(exporter: type, success: object) -> Any:
    methods = {
        "export": lambda self, *args, **named: success,
        "force_flush": lambda self, *args, **named: True,
        "shutdown": lambda self, *args, **named: None,
    }
    return type("Dropping", (exporter,), methods)()


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Read the report, and respond with 200."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: output costs time."""


@contextmanager
def judoscale() -> Iterator[str]:
    """Run a stand-in for judoscale's API; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Taking) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
