"""A stand-in for Datadog's API over HTTP: monitors, dashboards and metrics' metadata.

The stand-in stores requests, adds the fields that the real API adds, and responds with errors on
demand. It refuses what the typed models of Datadog's own client refuse, conflicting options
(``options_refused``), and metadata of a metric without data (``receive``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.datadog.models import Dashboard, MetricMetadata, Monitor, complaints
from tests.datadog.standin_options import options_answered, options_refused

KEYS = ("api-key", "app-key")
Answer = tuple[int, Any]
Fault = Callable[[str, str], Answer | None]


class StandInApi:
    """Listens at a free port of 127.0.0.1 (``url``); a context manager.

    ``requests``: all requests, as ``METHOD path``; ``fault`` may respond in their place.
    ``before_reply`` is called before each reply. The reply to write ``cut_at``, counted from 1, is
    truncated.
    """

    def __init__(self) -> None:
        self.monitors: dict[int, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.metrics: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.fault: Fault = lambda method, path: None
        self.before_reply: Callable[[], object] = lambda: None
        self.cut_at: int | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> StandInApi:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def writes(self) -> list[str]:
        """The requests that could change something."""
        return [
            request
            for request in self.requests
            if not request.startswith("GET") and "validate" not in request
        ]

    def state(self) -> str:
        """Return all stored objects as text, for comparisons."""
        return json.dumps([self.monitors, self.dashboards, self.metrics], sort_keys=True)

    def receive(self, *metrics: str) -> None:
        """Record that points of these metrics arrived: from then on they have metadata."""
        names = ("type", "unit", "per_unit", "description", "short_name", "integration")
        for metric in metrics:
            self.metrics.setdefault(metric, dict.fromkeys(names) | {"statsd_interval": None})

    def answer(
        self, method: str, path: str, parameters: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        """Return the API's response."""
        self.requests.append(f"{method} {path}")
        if fault := self.fault(method, path):
            return fault
        kind, _, key = path.partition("/")
        if kind == "monitor":
            return self._monitor(method, key, parameters, body)
        if kind == "dashboard":
            return self._dashboard(method, key, parameters, body)
        return self._metadata(method, key, body)

    def _monitor(
        self, method: str, key: str, parameters: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        if method == "GET":
            tags = {tag for tag in parameters.get("monitor_tags", "").split(",") if tag}
            return 200, [
                monitor for monitor in self.monitors.values() if tags <= set(monitor["tags"])
            ]
        if method == "DELETE":
            return 200, {"deleted_monitor_id": self.monitors.pop(int(key))["id"]}
        whole = body if method == "POST" else self.monitors[int(key)] | body
        sent = {name: value for name, value in whole.items() if name in Monitor.attribute_map}
        if wrong := complaints(Monitor, sent):
            return 400, {"errors": wrong}
        if wrong := options_refused(whole):
            return 400, {"errors": wrong}
        if key == "validate":
            return 200, {}
        number = int(key) if key else 1000 + len(self.monitors)
        added: dict[str, Any] = {
            "id": number,
            "multi": True,
            "creator": {"handle": "me"},
            "overall_state": "OK",
        }
        added |= {"options": options_answered(whole), "tags": whole["tags"][::-1]}
        self.monitors[number] = whole | added
        if whole["type"] == "query alert":
            self.monitors[number]["type"] = "metric alert"
        return 200, self.monitors[number]

    def _dashboard(
        self, method: str, key: str, parameters: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        if method == "GET" and not key:
            names = ("id", "title", "description", "layout_type")
            listed = [
                {name: dashboard[name] for name in names} for dashboard in self.dashboards.values()
            ]
            start, count = (
                int(parameters.get(*default)) for default in (("start", "0"), ("count", "100"))
            )
            return 200, {"dashboards": listed[start : start + min(count, 100)]}
        if method == "GET":
            return 200, self.dashboards[key]
        if method == "DELETE":
            return 200, {"deleted_dashboard_id": self.dashboards.pop(key)["id"]}
        if wrong := complaints(Dashboard, body):
            return 400, {"errors": wrong}
        key = key or f"abc-{len(self.dashboards)}"
        widgets = [{"id": number} | widget for number, widget in enumerate(body["widgets"])]
        added = {"id": key, "url": f"/dashboard/{key}", "author_handle": "me"}
        self.dashboards[key] = body | added | {"widgets": widgets}
        return 200, self.dashboards[key]

    def _metadata(self, method: str, key: str, body: dict[str, Any]) -> Answer:
        if key not in self.metrics:
            return 404, {"errors": ["metric_name not found"]}
        if method == "GET":
            return 200, self.metrics[key]
        if wrong := complaints(MetricMetadata, body):
            return 400, {"errors": wrong}
        self.metrics[key] |= body
        return 200, self.metrics[key]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urlsplit(self.path)
                parameters = {name: values[0] for name, values in parse_qs(url.query).items()}
                sent = (self.headers["DD-API-KEY"], self.headers["DD-APPLICATION-KEY"])
                status, answer = 403, {"errors": ["Forbidden"]}
                if sent == KEYS:
                    path = url.path.removeprefix("/api/v1/")
                    status, answer = api.answer(
                        self.command, path, parameters, json.loads(body or b"{}")
                    )
                api.before_reply()
                with suppress(OSError):  # the client has closed
                    self._say(status, answer)

            def _say(self, status: int, answer: Any) -> None:
                text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("X-RateLimit-Reset", "7")
                if 300 <= status < 400:
                    self.send_header("Location", self.path)
                self.end_headers()
                cut = api.writes[-1:] == api.requests[-1:] and api.cut_at == len(api.writes)
                self.wfile.write(text[: len(text) // 2] if cut else text)
                self.close_connection = self.close_connection or cut

            do_GET = do_POST = do_PUT = do_DELETE = _do

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        return Handler
