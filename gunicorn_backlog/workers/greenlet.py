"""gunicorn's gevent and eventlet workers: a greenlet for each connection, requests in flight.

Not ``handle``, for a kept-alive connection stays in there while nothing is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn_backlog.scoreboard.slot import Kind
from gunicorn_backlog.workers import request_wait, wsgi
from gunicorn_backlog.workers.request_counters import InFlight

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import GreenletWorker
    from gunicorn_backlog.workers.registry import Allocate


def instrument(worker: GreenletWorker, allocate: Allocate) -> None:
    """Wrap ``handle_request``, and its sibling for HTTP/2 where there is one."""
    if getattr(worker, "server_class", None) is not None:  # it serves in the gevent worker's place
        _instrument_pywsgi(worker, allocate)
        return
    slot = allocate(Kind.GREENLET, 0, measures_wait=request_wait.tcp_measures_wait(worker.sockets))
    in_flight = InFlight(slot)
    handle_request = request_wait.instrument_requests(
        worker.handle_request,
        worker.sockets,
        slot,
        request_at=1,
        socket_at=2,
        counts=False,
    )
    worker.handle_request = in_flight.counted(handle_request)
    if hasattr(worker, "handle_http2_request"):
        worker.handle_http2_request = in_flight.counted(worker.handle_http2_request)


def _instrument_pywsgi(worker: GreenletWorker, allocate: Allocate) -> None:
    """Watch gevent's pywsgi, or what was made of it: its handler runs the app for each request.

    The app itself is left alone where it can be, for handlers of websockets look at it, and never
    close what it returned.
    """
    handler = worker.wsgi_handler
    if not hasattr(handler, "run_application"):
        wsgi.instrument(worker, allocate)
        return
    slot = allocate(Kind.WSGI, 0)
    run_application = InFlight(slot).counted(handler.run_application)
    worker.wsgi_handler = type(handler.__name__, (handler,), {"run_application": run_application})
