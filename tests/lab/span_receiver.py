"""A receiver of spans at a local port: Datadog's trace API (v0.4) and OTLP over HTTP.

The packages of the formats are imported with the first payload, not when tests are collected.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple


class Span(NamedTuple):
    """A received span; times are in ns since 1970."""

    trace: object
    name: str
    texts: tuple[str, ...]
    start_ns: int
    duration_ns: int


class SpanReceiver:
    """Receives spans from processes on this host until it is closed.

    :ivar spans: all spans so far.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._respond(404)

            def do_POST(self) -> None:
                body = self._body()
                if self.path == "/v1/traces":
                    spans.extend(of_opentelemetry(body))
                elif self.path.startswith("/v0.4/traces"):
                    spans.extend(of_datadog(body))
                self._respond(200)

            do_PUT = do_POST

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    parts = iter(lambda: self._chunk(), b"")
                    octets = b"".join(parts)
                else:
                    octets = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                is_gzip = self.headers.get("Content-Encoding") == "gzip"
                return gzip.decompress(octets) if is_gzip else octets

            def _chunk(self) -> bytes:
                octets = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return octets

            def _respond(self, status: int) -> None:
                body = b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))

    @property
    def url(self) -> str:
        """The receiver's address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> SpanReceiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def trace_of(self, text: str) -> list[Span]:
        """Return all spans of the trace with a span that has this text in its attributes."""
        traces = {span.trace for span in self.spans if any(text in t for t in span.texts)}
        return [span for span in self.spans if span.trace in traces]


def of_datadog(body: bytes) -> Iterator[Span]:
    """Yield the spans of a payload of Datadog's Agent."""
    import msgpack

    for trace in msgpack.unpackb(body):
        for span in trace:
            texts = (span["resource"], *span.get("meta", {}).values())
            yield Span(span["trace_id"], span["name"], texts, span["start"], span["duration"])


def of_opentelemetry(body: bytes) -> Iterator[Span]:
    """Yield the spans of an OTLP request."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                texts = (span.name, *(pair.value.string_value for pair in span.attributes))
                start_ns = span.start_time_unix_nano
                duration_ns = span.end_time_unix_nano - start_ns
                yield Span(span.trace_id, span.name, texts, start_ns, duration_ns)
