"""The worker classes that ``in_place`` measures, and the spots at which ours wraps each class.

A spot is an object of the worker and the name of one of its attributes. A wrapper at a new spot is
one more line here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

WSGI, ASGI = ("tests.benchmarks.in_place_worker:app", "tests.benchmarks.in_place_worker:asgi_app")
WORKERS = "gunicorn_backlog.workers"


class Spot(NamedTuple):
    """An attribute that the instrumentation replaces; ``owner`` returns its object."""

    owner: Callable[[Any], Any]
    attribute: str


class Variant(NamedTuple):
    """The instrumentation with another value of one of its modules' names."""

    module: str
    name: str
    value: Any


class Subject(NamedTuple):
    """A worker class.

    :param arguments: gunicorn's options.
    :param spots: all that the instrumentation replaces, the innermost last.
    :param accepted: returns the accepted socket from the arguments of the last spot; None if they
        do not have the socket.
    :param waits: whether the wait of each request is measured.
    :param kept: whether all requests of a block use one connection.
    """

    arguments: tuple[str, ...]
    spots: tuple[Spot, ...]
    accepted: Callable[[Any], Any] | None = None
    app: str = WSGI
    waits: bool = False
    kept: bool = False

    @property
    def variants(self) -> Mapping[str, Variant]:
        """The variants of the instrumentation that are measured."""
        return VARIANTS if self.waits else {}


NO_WAIT, EACH_WAIT = "without the wait", "each wait measured"
VARIANTS = {
    NO_WAIT: Variant(f"{WORKERS}.request_wait", "tcp_measures_wait", lambda sockets: False),
    EACH_WAIT: Variant(f"{WORKERS}.last_wait", "FRESH_NS", 0),
}


def worker_itself(worker: Any) -> Any:
    """Return the worker."""
    return worker


def _container(worker: Any) -> Any:
    """Return tornado's container of the app, to which the worker keeps no reference."""
    (found,) = [it for it in gc.get_objects() if type(it).__name__ == "WSGIContainer"]
    return found


_GTHREAD = (
    Spot(worker_itself, "enqueue_req"),
    Spot(worker_itself, "handle"),
    Spot(worker_itself, "handle_request"),
)
_THREADS = ("--worker-class", "gthread", "--threads", "4")

SUBJECTS: Mapping[str, Subject] = {
    "sync": Subject(
        (),
        (Spot(worker_itself, "handle"), Spot(worker_itself, "handle_request")),
        accepted=lambda args: args[2],
        waits=True,
    ),
    "gthread": Subject(_THREADS, _GTHREAD, accepted=lambda args: args[1].sock, waits=True),
    "gthread, kept alive": Subject(
        _THREADS, _GTHREAD, accepted=lambda args: args[1].sock, waits=True, kept=True
    ),
    "gevent": Subject(
        ("--worker-class", "gevent"),
        (Spot(worker_itself, "handle_request"),),
        accepted=lambda args: args[2],
        waits=True,
    ),
    "gevent_pywsgi": Subject(
        ("--worker-class", "gevent_pywsgi"),
        (Spot(lambda worker: worker.wsgi_handler, "run_application"),),
    ),
    "tornado": Subject(("--worker-class", "tornado"), (Spot(_container, "wsgi_application"),)),
    "asgi": Subject(("--worker-class", "asgi"), (Spot(worker_itself, "asgi"),), app=ASGI),
    "uvicorn, uvloop": Subject(
        ("--worker-class", "uvicorn_worker.UvicornWorker"),
        (Spot(lambda worker: worker.config, "loaded_app"),),
        app=ASGI,
    ),
    "uvicorn, asyncio": Subject(
        ("--worker-class", "uvicorn_worker.UvicornH11Worker"),
        (Spot(lambda worker: worker.config, "loaded_app"),),
        app=ASGI,
    ),
}
