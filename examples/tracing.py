"""The time that a request waited for a worker, as a span ``gunicorn.queue`` in its trace.

A tracer starts the request's span when the app is called: a request that waited two seconds for a
worker looks fast. The span here starts when the request's last bytes arrived, and ends where the
request's span begins. It needs the setting ``request_wait``:

    # gunicorn.conf.py
    import gunicorn_backlog
    from gunicorn_backlog.hooks import *

    gunicorn_backlog.configure(request_wait=True)

Copy the function for your tracer, and call it once in each request, inside of the request's span:

    # Flask, WSGI
    app.before_request(datadog_queue_span)

    # Django, WSGI or ASGI: settings.py
    MIDDLEWARE = ["tracing.DatadogMiddleware", ...]

    # FastAPI
    app = FastAPI(dependencies=[Depends(datadog_dependency)])

With OpenTelemetry: ``opentelemetry_queue_span``, ``OpenTelemetryMiddleware`` and
``opentelemetry_dependency``. A request whose wait is unknown has no such span.

Without a tracer, the same number is in:

- gunicorn's access log, with ``--access-logformat '%(h)s "%(r)s" %(s)s
  waited=%({gunicorn_backlog.waited_ms}e)s'``, in sync, gthread, gevent, eventlet and gevent_pywsgi
  workers. A request that fails before the app has a dash. The access logs of gunicorn's asgi worker
  and of uvicorn have no environ, and aiohttp's worker refuses the format.
- ``environ["gunicorn_backlog.waited_ms"]`` of WSGI apps, an int in whole milliseconds.
- ``scope["extensions"]["gunicorn_backlog"]["waited_ms"]`` of ASGI apps. Apps of aiohttp and tornado
  have only ``waited_ms()``.

The keys are absent if the wait is unknown: on a Unix socket without ``X-Request-Start``, in HTTP/2,
and where a sandbox refuses TCP_INFO.

``gunicorn_backlog.waited_ms()`` returns the same int, or None. It works in the thread, greenlet or
task of the request, while the body streams, and wherever the context is copied: in new tasks,
``asyncio.to_thread``, anyio and asgiref. Bare threads, ``run_in_executor`` and new greenlets have
None. tornado's ``data_received`` and an executor of its WSGIContainer have None, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gunicorn_backlog import waited_ms

MS_NS = 1_000_000


def datadog_queue_span() -> None:
    """Add the span to the current trace of ``ddtrace``, if the wait is known."""
    from ddtrace.trace import tracer

    waited, request_span = waited_ms(), tracer.current_root_span()
    if waited is None or request_span is None:
        return
    began_ns = request_span.start_ns
    span = tracer.start_span("gunicorn.queue", child_of=request_span, span_type="proxy")
    span.start_ns = began_ns - waited * MS_NS
    span.finish(finish_time=began_ns / 1e9)


def opentelemetry_queue_span() -> None:
    """Add the span to the current trace of OpenTelemetry, if the wait is known."""
    from opentelemetry import trace

    waited, request_span = waited_ms(), trace.get_current_span()
    if waited is None or not request_span.is_recording():
        return
    began_ns = getattr(request_span, "start_time", None) or time.time_ns()
    tracer = trace.get_tracer("gunicorn_backlog")
    span = tracer.start_span("gunicorn.queue", start_time=began_ns - waited * MS_NS)
    span.end(end_time=began_ns)


class DatadogMiddleware:
    """Django's middleware for ``ddtrace``."""

    queue_span = staticmethod(datadog_queue_span)

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        """Add the span, and respond."""
        self.queue_span()
        return self._get_response(request)


class OpenTelemetryMiddleware(DatadogMiddleware):
    """Django's middleware for OpenTelemetry, after its own middleware in the list."""

    queue_span = staticmethod(opentelemetry_queue_span)


async def datadog_dependency() -> None:
    """Add the span; for FastAPI."""
    datadog_queue_span()


async def opentelemetry_dependency() -> None:
    """Add the span; for FastAPI."""
    opentelemetry_queue_span()
