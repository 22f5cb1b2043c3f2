"""Monitors of gunicorn to compare with, each set up by its documentation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from tests.lab.ports import free_port
from tests.lab.server import CONFIG

APPS = "tests.benchmarks.apps"
BASE = "no monitor"
AGAIN = "no monitor, again"
EMPTY = "no monitor, an empty `pre_request`"
IN_FLASK = "no monitor, in Flask"
IN_UVICORN = "no monitor, in uvicorn"
OLDER = "23.0.0"
ON_OLDER = f"no monitor, on gunicorn {OLDER}"
OURS = "gunicorn_backlog"
NO_WAIT = "gunicorn_backlog, without the wait"

ROUTES = "waits on a Unix socket without a proxy's header, routes and statuses"
NO_QUEUE = "backlogs, limits, drops, gthread's queue, waits"


class Contender(NamedTuple):
    """A monitor of gunicorn: its config file, and its properties.

    :param package: the distribution to install.
    :param tells_working: whether the monitor reports the number of working workers, or the share
        of their time.
    :param unseen: the quantities that the monitor does not measure.
    :param note: a remark for the table.
    :param base: the contender to compare with: the same app without the monitor.
    :param base_in_place: the base for the CPU time added to a request, if different.
    :param gunicorn: the version to run with, if the monitor does not run with the installed one.
    """

    name: str
    config: str = ""
    package: str = "gunicorn"
    tells_working: bool = False
    unseen: str = ""
    note: str = ""
    base: str = BASE
    base_in_place: str | None = None
    app: str = f"{APPS}:smallest"
    arguments: tuple[str, ...] = ()
    gunicorn: str | None = None

    @property
    def version(self) -> str | None:
        """The package's version; None: not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


PROMETHEUS = """
from gunicorn_prometheus_exporter.hooks import (
    default_on_exit as on_exit,
    default_on_starting as on_starting,
    default_post_fork as post_fork,
    default_when_ready as when_ready,
    default_worker_int as worker_int,
)
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
"""
# Spans and metrics are created and collected; the exporters drop them.
OPENTELEMETRY = """
def post_fork(server, worker):
    from opentelemetry import metrics, trace
    from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from tests.benchmarks import dropping
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(dropping.spans()))
    trace.set_tracer_provider(provider)
    reader = PeriodicExportingMetricReader(dropping.metrics())
    metrics.set_meter_provider(MeterProvider([reader]))
    GunicornInstrumentor().instrument()
"""
# gunicorn's default pre_request formats a line for the debug log, even if none is written.
EMPTY_PRE_REQUEST = """
def pre_request(worker, req):
    pass
"""
WITHOUT_THE_WAIT = """
from gunicorn_backlog.workers import request_wait as _waiting
_waiting.instrument_requests = lambda handle_request, *args, **named: handle_request
"""

UVICORN = ("--worker-class", "uvicorn_worker.UvicornWorker")

CONTENDERS = (
    Contender(BASE),
    Contender(AGAIN),
    Contender(
        EMPTY,
        EMPTY_PRE_REQUEST,
        note="the saving of any own `pre_request`: gunicorn's creates a line for the debug log",
    ),
    Contender(
        OURS,
        CONFIG,
        "gunicorn_backlog",
        tells_working=True,
        unseen=ROUTES,
    ),
    Contender(
        NO_WAIT,
        CONFIG + WITHOUT_THE_WAIT,
        "gunicorn_backlog",
        tells_working=True,
        unseen="waits, in this row only",
    ),
    Contender(
        "gunicorn's own backlog metric, with statsd",
        "enable_backlog_metric = True",
        unseen="Unix sockets and `reuse_port`, which listener, limits, drops, gthread's queue, "
        "idle or working, waits",
        arguments=("--statsd-host", "127.0.0.1:{deaf}"),
    ),
    Contender(
        "hand-written, a `multiprocessing.Value` per worker",
        "from tests.benchmarks.handwritten import *",
        tells_working=True,
        unseen="Unix sockets (its thread dies of one) and `reuse_port`, which listener, limits, "
        "drops, gthread's queue and threads, a worker that reads from a slow client, waits",
        note="compared with an empty `pre_request`, since its own replaces gunicorn's",
        base_in_place=EMPTY,
    ),
    Contender(ON_OLDER, base=ON_OLDER, gunicorn=OLDER),
    Contender(
        f"gunicorn-prometheus-exporter, on gunicorn {OLDER}",
        PROMETHEUS,
        "gunicorn-prometheus-exporter",
        unseen=f"{NO_QUEUE}, idle or working (a worker is `running`, with its CPU share)",
        note="stops gunicorn 25 and later at the start: its arbiter makes `SIG_QUEUE` a list",
        base=ON_OLDER,
        gunicorn=OLDER,
    ),
    Contender(
        "opentelemetry-instrumentation-gunicorn",
        OPENTELEMETRY,
        "opentelemetry-instrumentation-gunicorn",
        unseen=f"{NO_QUEUE}, idle or working (requests are counted and traced when they end)",
    ),
    Contender(IN_FLASK, package="flask", base=IN_FLASK, app=f"{APPS}:in_flask()"),
    Contender(
        "judoscale, in Flask",
        package="judoscale",
        tells_working=True,
        unseen="backlogs, limits, drops, gthread's queue, a worker that reads from a slow client, "
        "waits unless a proxy sends a header; its utilization is of a process, not of threads",
        base=IN_FLASK,
        app=f"{APPS}:in_flask_with_judoscale()",
    ),
    Contender(
        IN_UVICORN, package="uvicorn", base=IN_UVICORN, app=f"{APPS}:asgi", arguments=UVICORN
    ),
    Contender(
        "gunicorn_backlog, in uvicorn",
        CONFIG,
        "gunicorn_backlog",
        tells_working=True,
        unseen="waits on a Unix socket without a proxy's header, routes and statuses",
        base=IN_UVICORN,
        app=f"{APPS}:asgi",
        arguments=UVICORN,
    ),
    Contender(
        "judoscale, in uvicorn",
        package="judoscale",
        tells_working=True,
        unseen="backlogs, limits, drops, event loops, thread pools, waits unless a proxy sends a "
        "header; its utilization is of a process",
        base=IN_UVICORN,
        app=f"{APPS}:asgi_with_judoscale()",
        arguments=UVICORN,
    ),
)


def environ(folder: str, deaf: int, judoscale: str) -> dict[str, str]:
    """Return the environment variables of all contenders.

    :param deaf: a UDP port without a reader, which leaves out the cost of an Agent.
    :param judoscale: the URL of a stand-in for judoscale's API.
    """
    return {
        "GUNICORN_BACKLOG_URL": f"udp://127.0.0.1:{deaf}",
        "HANDWRITTEN_PORT": str(deaf),
        "PROMETHEUS_METRICS_PORT": str(free_port()),
        "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
        "PROMETHEUS_MULTIPROC_DIR": f"{folder}/prometheus",
        "GUNICORN_WORKERS": "1",
        "JUDOSCALE_URL": judoscale,
    }
