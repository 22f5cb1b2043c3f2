"""gunicorn's gevent and eventlet workers: the hub, and requests in flight.

``handle`` is not wrapped: a kept-alive connection stays in ``handle`` between requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.workers import request_wait, wsgi
from gunicorn_backlog.workers.app_proxy import before_run
from gunicorn_backlog.workers.exposed_loop_waits import waits_of
from gunicorn_backlog.workers.exposed_requests import expose_environ
from gunicorn_backlog.workers.exposed_wait import add_to_environ, scoped
from gunicorn_backlog.workers.in_flight import InFlight
from gunicorn_backlog.workers.loops.beat import Beat
from gunicorn_backlog.workers.loops.watch import note_unmeasured, watch_eventlet, watch_gevent
from gunicorn_backlog.workers.received_wait import Headers, ReceivedWaits

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import GreenletWorker
    from gunicorn_backlog.workers.registry import Allocate


def instrument(worker: GreenletWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Wrap ``handle_request``, and from gunicorn 25 on ``handle_http2_request``; watch the hub."""
    watch = _watch(type(worker))
    if getattr(worker, "server_class", None) is not None:  # gevent_pywsgi
        slot = allocate(Kind.WSGI, 0)
        waits = waits_of(slot, worker.sockets, exposes=exposes)
        _instrument_pywsgi(worker, slot, waits, exposes)
        before_run(worker, lambda: waits.follow(watch(slot) if watch is not None else None))
        return
    slot = _instrument_handlers(worker, allocate, exposes)
    if watch is None:
        note_unmeasured(slot)
    else:
        before_run(worker, lambda: watch(slot))


def _watch(worker_class: type) -> Callable[[Slot], Beat | None] | None:
    """Return the function that watches the hub of a class; None: the hub is unknown."""
    by_name = {"GeventWorker": watch_gevent, "EventletWorker": watch_eventlet}
    watches = (by_name.get(base.__name__) for base in worker_class.__mro__)
    return next(filter(None, watches), None)


def _instrument_handlers(worker: GreenletWorker, allocate: Allocate, exposes: bool) -> Slot:
    slot = allocate(Kind.GREENLET, 0)
    in_flight = InFlight(slot)
    handle_request = request_wait.instrument_requests(
        worker.handle_request, worker.sockets, slot, counts=False, exposes=exposes
    )
    if exposes:
        expose_environ(worker)
    worker.handle_request = in_flight.counted(handle_request)
    if hasattr(worker, "handle_http2_request"):
        worker.handle_http2_request = in_flight.counted(worker.handle_http2_request)
    return slot


def _instrument_pywsgi(
    worker: GreenletWorker, slot: Slot, waits: ReceivedWaits, exposes: bool
) -> None:
    """Wrap the handler of gevent's pywsgi or of a derived server.

    The handler runs the app for each request, as soon as it has read the head. The app is wrapped
    only if the handler lacks ``run_application``: handlers of websockets inspect the app, and never
    close its answer.
    """
    handler = worker.wsgi_handler
    if not hasattr(handler, "run_application"):
        wsgi.instrument(worker, slot)
        return
    run_application = _exposed(handler.run_application) if exposes else handler.run_application

    def run_application_measured(self: Any) -> object:
        arrived_ns = waits.arrived_ns(getattr(self, "socket", None))
        return waits.start(run_application, arrived_ns, _headers, self)

    measured = scoped(run_application_measured) if exposes else run_application_measured
    counted = InFlight(slot).counted(measured)
    worker.wsgi_handler = type(handler.__name__, (handler,), {"run_application": counted})
    waits.begin()


def _exposed(run_application: Any) -> Any:
    def run_application_exposed(self: Any) -> object:
        add_to_environ(self.environ)
        return run_application(self)

    return run_application_exposed


def _headers(handler: Any) -> Headers:
    """Return a request's headers from its environ, where equal headers are joined by commas."""
    prefix = "HTTP_"
    for name, value in handler.environ.items():
        if name.startswith(prefix):
            yield name[len(prefix) :].replace("_", "-"), value.rpartition(",")[2]
