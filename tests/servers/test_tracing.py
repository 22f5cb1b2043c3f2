"""The spans of ``examples/tracing.py``, sent by real tracers to a local receiver."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import nightly
from tests.lab.ports import free_port
from tests.lab.server import Server, request
from tests.lab.span_receiver import SpanReceiver
from tests.lab.waiting import wait_for

# Found, not imported: the servers import the tracers.
pytestmark = pytest.mark.skipif(
    None in (find_spec("ddtrace"), find_spec("opentelemetry.sdk")),
    reason="ddtrace or opentelemetry-sdk is not installed (extra: test)",
)

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = [
    ("ddtrace", "flask"),
    nightly("ddtrace", "django"),
    ("ddtrace", "fastapi"),
    nightly("opentelemetry", "flask"),
    ("opentelemetry", "django"),
    ("opentelemetry", "fastapi"),
]
WORKERS = {"flask": "sync", "django": "sync", "fastapi": "uvicorn_worker.UvicornWorker"}
SLOW_NS = 2_000_000_000
START_S = 150.0  # where the tracer's byte code is not cached, and the machine is busy


@pytest.fixture
def receiver() -> Iterator[SpanReceiver]:
    """A receiver of spans."""
    with SpanReceiver() as made:
        yield made


def environ(tracer: str, receiver: SpanReceiver, pythonpath: str) -> dict[str, str]:
    """Return the variables of a server whose app sends its spans to the receiver."""
    return {
        "TRACER": tracer,
        "PYTHONPATH": f"{pythonpath}:{EXAMPLES}",
        "GUNICORN_BACKLOG_REQUEST_WAIT": "1",
        "GUNICORN_BACKLOG_INTERVAL": "60",
        "DD_TRACE_AGENT_URL": receiver.url,
        "DD_TRACE_API_VERSION": "v0.4",
        "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


def serves(server: Server) -> bool:
    """Return whether the server answers."""
    try:
        return bool(server.get("/first"))
    except OSError:
        return False


@pytest.mark.parametrize(("tracer", "framework"), CASES)
def test_the_queue_is_in_the_trace(
    tracer: str,
    framework: str,
    newest: Gunicorn,
    serve: ServerFactory,
    receiver: SpanReceiver,
    tmp_path: Path,
) -> None:
    """A request behind one of 2 s has a span of 2 s; where the wait is unknown there is no span.

    The span ends where the request's span begins.
    """
    port, path = free_port(), tmp_path / "app.sock"
    server = serve(
        newest,
        workers=1,
        arguments=("--worker-class", WORKERS[framework]),
        app=f"tests.lab.traced_apps:{framework}_app()",
        bind=(f"127.0.0.1:{port}", f"unix:{path}"),
        environ=environ(tracer, receiver, newest.environ()["PYTHONPATH"]),
    )
    server.port = port
    wait_for("a span", lambda: serves(server) and receiver.spans, deadline_s=START_S)
    slow = threading.Thread(target=lambda: server.get("/slow"))
    slow.start()
    wait_for("the slow request", lambda: server.journal.in_flight().total() == 1)
    server.get("/behind")
    slow.join()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(request("/unknown"))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    behind = wait_for("the trace", lambda: receiver.trace_of("/behind"))
    unknown = wait_for("the other trace", lambda: receiver.trace_of("/unknown"))
    assert "gunicorn.queue" not in {span.name for span in unknown}
    (queue,) = [span for span in behind if span.name == "gunicorn.queue"]
    rest = min(span.start_ns for span in behind if span is not queue)
    print(f"{tracer}, {framework}: {queue.duration_ns / 1e6} ms in the queue")
    assert 0.5 * SLOW_NS < queue.duration_ns < 2 * SLOW_NS
    assert abs(queue.start_ns + queue.duration_ns - rest) < 1_000
