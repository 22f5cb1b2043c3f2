"""The worker classes that ``in_place`` measures, and the spots at which ours wraps each class.

A spot is an object of the worker and the name of one of its attributes. A wrapper at a new spot is
one more line here.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
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
    :param waits: whether the wait of each request is measured at these spots.
    :param wait_spot: the one spot that measures waits, if it does nothing else.
    :param kept: whether all requests of a block use one connection.
    :param environ: variables of the server.
    """

    arguments: tuple[str, ...]
    spots: tuple[Spot, ...]
    accepted: Callable[[Any], Any] | None = None
    app: str = WSGI
    waits: bool = False
    wait_spot: Spot | None = None
    kept: bool = False
    environ: Mapping[str, str] = MappingProxyType({})

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


def _asgi_protocol(worker: Any) -> Any:
    """Return gunicorn's class of HTTP connections."""
    return sys.modules["gunicorn.asgi.protocol"].ASGIProtocol


def _uvicorn_config(worker: Any) -> Any:
    """Return the config whose class of connections uvicorn looks up for each connection."""
    return worker.config


_ASGI_HEADS = Spot(_asgi_protocol, "_on_headers_complete")
_UVICORN_PROTOCOL = Spot(_uvicorn_config, "http_protocol_class")
_UVICORN = (_UVICORN_PROTOCOL, Spot(_uvicorn_config, "loaded_app"))
_GTHREAD = (
    Spot(worker_itself, "enqueue_req"),
    Spot(worker_itself, "handle"),
    Spot(worker_itself, "handle_request"),
)
_THREADS = ("--worker-class", "gthread", "--threads", "4")

_EXPOSES = {"GUNICORN_BACKLOG_REQUEST_WAIT": "true"}
_WSGI = Spot(worker_itself, "wsgi")

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
    "sync, request_wait": Subject(
        (),
        (_WSGI, Spot(worker_itself, "handle"), Spot(worker_itself, "handle_request")),
        accepted=lambda args: args[2],
        environ=_EXPOSES,
    ),
    "gthread, request_wait": Subject(
        _THREADS, (_WSGI, *_GTHREAD), accepted=lambda args: args[1].sock, environ=_EXPOSES
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
    "asgi": Subject(
        ("--worker-class", "asgi"),
        (_ASGI_HEADS, Spot(worker_itself, "asgi")),
        app=ASGI,
        wait_spot=_ASGI_HEADS,
    ),
    "uvicorn, uvloop": Subject(
        ("--worker-class", "uvicorn_worker.UvicornWorker"),
        _UVICORN,
        app=ASGI,
        wait_spot=_UVICORN_PROTOCOL,
    ),
    "uvicorn, asyncio": Subject(
        ("--worker-class", "uvicorn_worker.UvicornH11Worker"),
        _UVICORN,
        app=ASGI,
        wait_spot=_UVICORN_PROTOCOL,
    ),
}
