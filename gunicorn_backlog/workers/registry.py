"""The families of worker classes and their instrumentation, and the arbiter's workers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gunicorn_backlog.scoreboard.slot import Kind, Slot

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Worker
    from gunicorn_backlog.scoreboard.scoreboard import Scoreboard


class Allocate(Protocol):
    """``Scoreboard.claim`` for one worker."""

    def __call__(self, kind: Kind, capacity: int, *, measures_wait: bool = False) -> Slot: ...


class Family(NamedTuple):
    """Worker classes with the same instrumentation.

    ``kind`` is their kind in the scoreboard. ``function`` of ``module``, in this package,
    instruments a worker. ``classes`` are the names of base classes, each after its package.
    """

    kind: Kind
    module: str
    function: str
    classes: frozenset[str]

    def load(self) -> Callable[[Any, Allocate], None]:
        """Return the function. Only its module is imported, and only now."""
        module = import_module(f"{__package__}.{self.module}")
        function: Callable[[Any, Allocate], None] = getattr(module, self.function)
        return function


FAMILIES = (
    Family(Kind.SYNC, "sync", "instrument", frozenset({"gunicorn.SyncWorker"})),
    Family(Kind.GTHREAD, "gthread", "instrument", frozenset({"gunicorn.ThreadWorker"})),
    Family(Kind.GREENLET, "greenlet", "instrument", frozenset({"gunicorn.AsyncWorker"})),
    Family(Kind.WSGI, "tornado", "instrument", frozenset({"gunicorn.TornadoWorker"})),
    Family(Kind.ASGI, "asgi", "instrument", frozenset({"gunicorn.ASGIWorker"})),
    Family(
        Kind.ASGI,
        "asgi",
        "instrument_uvicorn",
        frozenset({"uvicorn.UvicornWorker", "uvicorn_worker.UvicornWorker"}),
    ),
)


_BY_NAME = {name: family for family in FAMILIES for name in family.classes}


def family_of(worker_class: type) -> Family | None:
    """Return the family of a class by the names of its bases, the nearest first.

    Not cached: a cache would keep each class of a config file alive, and each HUP creates a new
    one. This takes 0.4 µs for gunicorn's own classes, and 1 µs for an unknown class.
    """
    for base in worker_class.__mro__:
        family = _BY_NAME.get(f"{base.__module__.partition('.')[0]}.{base.__name__}")
        if family is not None:
            return family
    return None


def prepare(arbiter: Arbiter) -> None:
    """Import the modules for the arbiter's worker class, so that its workers share their memory."""
    family = family_of(arbiter.worker_class)
    if family is not None:
        family.load()


def instrument(worker: Worker, scoreboard: Scoreboard) -> None:
    """Claim a slot for this worker, in its own process, and instrument it.

    A worker of an unknown class claims a slot too, as proof that it is up. A worker whose
    instrumentation fails claims one of ``Kind.FAILED``: it is made otherwise than its base classes,
    or has more threads than there are rows. Raises ClaimError, and the instrumentation's error.
    """
    allocate = partial(scoreboard.claim, worker.pid, worker.age)
    family = family_of(type(worker))
    if family is None:
        allocate(Kind.UNKNOWN, 0)
        return
    try:
        family.load()(worker, allocate)
    except Exception:
        scoreboard.detach()  # a part of the worker may be instrumented already
        allocate(Kind.FAILED, 0)
        raise


def heartbeats(arbiter: Arbiter, pids: Collection[int]) -> dict[int, float]:
    """Return the latest heartbeat of each of these workers, by pid; see ``Heartbeat``."""
    latest = {}
    for pid in pids:
        with suppress(KeyError, OSError, ValueError):  # it was reaped
            latest[pid] = arbiter.WORKERS[pid].tmp.last_update()
    return latest


def kind_forked(arbiter: Arbiter) -> Kind:
    """Return the kind of the workers that the arbiter forks now."""
    family = family_of(arbiter.worker_class)
    return Kind.UNKNOWN if family is None else family.kind
