"""The worker's side of ``in_place``: the app, and wrappers that are removed and restored.

The config file calls ``around`` on our hook. From then on a request of ``/state/NAME`` puts the
worker into a state, and ``/cpu`` returns the worker's CPU time. No code runs beside the requests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gunicorn_backlog import hooks
from gunicorn_backlog.kernel.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.workers import registry
from gunicorn_backlog.workers.app_proxy import AppProxy
from tests.benchmarks.in_place_subjects import NO_WAIT, SUBJECTS, Spot, Subject

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SUBJECT = "IN_PLACE_SUBJECT"  # the variable
CONFIG = """
from gunicorn_backlog.hooks import *
from tests.benchmarks import in_place_worker as _in_place
post_worker_init = _in_place.around(post_worker_init)
"""
OFF, ON, EMPTY, COLD_CALL = "off", "on", "empty", "cold call"
STATE, CPU = "/state/", "/cpu"
ABSENT = object()  # of an attribute of an instance: its class has the attribute
TCP_INFO_SIZE = 56  # as far as the field of the wait

Values = Mapping[Spot, Any]


class Worker:
    """A worker with the states of its spots."""

    def __init__(self, worker: Any, subject: Subject) -> None:
        self._worker = worker
        self._subject = subject
        self._states: dict[str, Values] = {}

    def instrument(self, hook: Callable[[Any], None]) -> None:
        """Instrument the worker once for each variant, and at last by the hook."""
        for name, variant in self._subject.variants.items():
            assert hooks._monitor is not None
            scoreboard = hooks._monitor._pipeline.scoreboard
            assert scoreboard is not None
            module = import_module(variant.module)
            former = getattr(module, variant.name)
            setattr(module, variant.name, variant.value)
            try:
                registry.instrument(self._worker, scoreboard)
            finally:
                setattr(module, variant.name, former)
            self._states[name] = self._values()
            self._set(dict.fromkeys(self._subject.spots, ABSENT))
        hook(self._worker)

    def enter(self, state: str) -> None:
        """Put the worker into a state."""
        if ON not in self._states:
            self._find_states()
        self._set(self._states[state])

    def _find_states(self) -> None:
        """Save the values with ours, without, and with the floors; some are wrapped late."""
        self._states[ON] = self._values()
        self._states[OFF] = {spot: self._without(spot) for spot in self._subject.spots}
        wait_spot = self._subject.wait_spot
        if wait_spot is not None:
            plain = self._states[OFF][wait_spot]
            self._states[NO_WAIT] = {**self._states[ON], wait_spot: plain}
        self._set(self._states[OFF])
        last = self._subject.spots[-1]
        function = getattr(last.owner(self._worker), last.attribute)
        self._states[EMPTY] = {**self._states[OFF], last: _empty(function)}
        if self._subject.accepted is not None:
            wrapper = _cold_call(function, self._subject.accepted)
            self._states[COLD_CALL] = {**self._states[OFF], last: wrapper}

    def _values(self) -> Values:
        return {
            spot: vars(spot.owner(self._worker))[spot.attribute] for spot in self._subject.spots
        }

    def _without(self, spot: Spot) -> Any:
        """Return what the instrumentation found at a spot."""
        owner = spot.owner(self._worker)
        wrapper = vars(owner)[spot.attribute]
        if isinstance(wrapper, AppProxy):
            return wrapper._app
        if isinstance(wrapper, type):  # a class of connections
            return wrapper.__bases__[0]
        bases = owner.__mro__[1:] if isinstance(owner, type) else type(owner).__mro__
        if any(spot.attribute in vars(base) for base in bases):
            return ABSENT
        cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__, strict=True))
        if "by_type" in cells:  # an ASGI app's calls, by the scope's type
            return cells["by_type"].cell_contents["lifespan"]
        return cells["app" if "app" in cells else "on_headers_complete"].cell_contents

    def _set(self, values: Values) -> None:
        for spot, value in values.items():
            owner = spot.owner(self._worker)
            if value is not ABSENT:
                setattr(owner, spot.attribute, value)
            elif spot.attribute in vars(owner):
                delattr(owner, spot.attribute)


_worker: Worker  # of this process


def around(hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return our hook ``post_worker_init`` as one that also keeps the worker's states."""

    @wraps(hook)
    def post_worker_init(worker: Any) -> None:
        global _worker
        _worker = Worker(worker, SUBJECTS[os.environ[SUBJECT]])
        _worker.instrument(hook)

    return post_worker_init


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a constant, or obey the benchmark."""
    body = b"ok" if environ["PATH_INFO"] == "/" else _obey(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with a constant, or obey the benchmark; an error says that there is no lifespan."""
    assert scope["type"] == "http"
    body = b"ok" if scope["path"] == "/" else _obey(scope["path"])
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _obey(path: str) -> bytes:
    if path == CPU:
        return str(time.process_time_ns()).encode()
    _worker.enter(unquote(path).removeprefix(STATE))
    return b"ok"


def _empty(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    return wrapper


def _cold_call(function: Callable[..., Any], accepted: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Any:
        accepted(args).getsockopt(IPPROTO_TCP, TCP_INFO, TCP_INFO_SIZE)
        return function(*args, **named)

    return wrapper
