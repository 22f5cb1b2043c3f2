"""Apps of three frameworks with a tracer, ``ddtrace`` or OpenTelemetry by $TRACER.

``/slow`` blocks the worker for two seconds; each other path answers at once.
"""

from __future__ import annotations

import os
import time

USES_DATADOG = os.environ["TRACER"] == "ddtrace"
if USES_DATADOG:
    import ddtrace.auto  # noqa: F401  # before the frameworks

from typing import Any

import django
import fastapi
import flask
import tracing
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path

from tests.lab.request_log import noted

SLOW_S = 2.0
queue_span = tracing.datadog_queue_span if USES_DATADOG else tracing.opentelemetry_queue_span


def respond(path: str) -> str:
    """Respond; ``slow`` after a while."""
    if path == "slow":
        with noted():
            time.sleep(SLOW_S)
    return "ok"


def start_opentelemetry() -> None:
    """Send spans to $OTEL_EXPORTER_OTLP_ENDPOINT, and instrument the frameworks."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument()


def flask_app() -> Any:
    """Return an app of Flask."""
    app = flask.Flask("traced")
    if not USES_DATADOG:
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        FlaskInstrumentor().instrument_app(app)
    app.before_request(queue_span)
    app.add_url_rule("/<path>", view_func=respond)
    return app


def fastapi_app() -> Any:
    """Return an app of FastAPI."""
    dependency = tracing.datadog_dependency if USES_DATADOG else tracing.opentelemetry_dependency
    app = fastapi.FastAPI(dependencies=[fastapi.Depends(dependency)])

    async def endpoint(path: str) -> str:
        return respond(path)

    app.add_api_route("/{path}", endpoint)
    if not USES_DATADOG:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(app)
    return app


def view(request: Any, path: str) -> HttpResponse:
    """Respond, as a view of Django."""
    return HttpResponse(respond(path))


urlpatterns = [re_path("(?P<path>.*)", view)]


def django_app() -> Any:
    """Return an app of Django."""
    return get_wsgi_application()


name = "DatadogMiddleware" if USES_DATADOG else "OpenTelemetryMiddleware"
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[f"tracing.{name}"])
if not USES_DATADOG:
    start_opentelemetry()
django.setup()
