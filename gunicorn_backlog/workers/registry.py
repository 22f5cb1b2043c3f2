"""The families of worker classes: selection and instrumentation."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.workers.closed_queues import record_closed_queues
from gunicorn_backlog.workers.max_requests import note_max_requests

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Worker
    from gunicorn_backlog.scoreboard.scoreboard import Scoreboard


Allocate = Callable[[Kind, int], Slot]  # ``Scoreboard.claim`` for one worker: raises ClaimError


class Family(NamedTuple):
    """Worker classes with the same instrumentation.

    kind: of their slots, as a rule; a worker with another server may have another kind.
    module: in this package.
    function: of the module; instruments a worker.
    """

    kind: Kind
    module: str
    function: str = "instrument"

    def load(self) -> Callable[..., None]:
        """Import the family's module, and return its function."""
        module = import_module(f"{__package__}.{self.module}")
        function: Callable[..., None] = getattr(module, self.function)
        return function


_UVICORN = Family(Kind.ASGI, "asgi", "instrument_uvicorn")
# By base class as ``package.Class``, independent of the module in the package.
FAMILIES = {
    "gunicorn.SyncWorker": Family(Kind.SYNC, "sync"),
    "gunicorn.ThreadWorker": Family(Kind.GTHREAD, "gthread"),
    "gunicorn.AsyncWorker": Family(Kind.GREENLET, "greenlet"),
    "gunicorn.TornadoWorker": Family(Kind.WSGI, "tornado"),
    "gunicorn.ASGIWorker": Family(Kind.ASGI, "asgi"),
    "uvicorn.UvicornWorker": _UVICORN,
    "uvicorn_worker.UvicornWorker": _UVICORN,
    "aiohttp.GunicornWebWorker": Family(Kind.ASGI, "aiohttp"),
}


def family_of(worker_class: type) -> Family | None:
    """Return the family of a class by the names of its bases, the nearest first.

    Not cached: each HUP creates the classes of a config file again, and a cache would keep all of
    them alive. A look-up takes 0.4 µs for gunicorn's own classes, and 1 µs for an unknown class.
    """
    for base in worker_class.__mro__:
        family = FAMILIES.get(f"{base.__module__.partition('.')[0]}.{base.__name__}")
        if family is not None:
            return family
    return None


def prepare(arbiter: Arbiter) -> None:
    """Import the module of the arbiter's worker class; workers then share the module's memory."""
    family = family_of(arbiter.worker_class)
    if family is not None:
        family.load()


def instrument(worker: Worker, scoreboard: Scoreboard, *, exposes: bool = False) -> None:
    """Allocate a slot for a worker and instrument the worker, in the worker's process.

    A worker of an unknown class also gets a slot, as proof that the worker is up. A failed
    instrumentation leaves a slot of ``Kind.FAILED``: a subclass lacks attributes of its base class,
    or the pool has more threads than free rows. Raises ClaimError, and the instrumentation's error.

    :param exposes: the setting ``request_wait``.
    """
    slots: list[Slot] = []

    def allocate(kind: Kind, capacity: int) -> Slot:
        slots[:] = [scoreboard.claim(worker.pid, worker.age, kind, capacity)]
        return slots[0]

    family = family_of(type(worker))
    if family is None:
        allocate(Kind.UNKNOWN, 0)
        return
    try:
        family.load()(worker, allocate, exposes=exposes)
        note_max_requests(worker, slots[0])
        record_closed_queues(worker, slots[0])
    except Exception:
        scoreboard.detach()  # a part of the worker may be instrumented already
        allocate(Kind.FAILED, 0)
        raise


def kind_forked(arbiter: Arbiter) -> Kind:
    """Return the kind of the workers that the arbiter forks now."""
    family = family_of(arbiter.worker_class)
    return Kind.UNKNOWN if family is None else family.kind
