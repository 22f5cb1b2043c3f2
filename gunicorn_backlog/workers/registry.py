"""How each family of worker classes is watched, and which workers the arbiter has."""

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
    """Worker classes that are watched in one way: by a function in a module of this package.

    ``classes`` are names of their bases, each after the package that it comes from.
    """

    kind: Kind
    module: str
    function: str
    classes: frozenset[str]

    def load(self) -> Callable[[Any, Allocate], None]:
        """Return the function; its module is imported when it is needed, and no other is."""
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

    Not cached: a cache keeps each class of a config file alive, and a HUP makes it anew. For
    gunicorn's own classes this takes 0.4 µs, and for one of an unknown family 1 µs.
    """
    for base in worker_class.__mro__:
        family = _BY_NAME.get(f"{base.__module__.partition('.')[0]}.{base.__name__}")
        if family is not None:
            return family
    return None


def prepare(arbiter: Arbiter) -> None:
    """Import in the arbiter what its workers need, so that they share it."""
    family = family_of(arbiter.worker_class)
    if family is not None:
        family.load()


def instrument(worker: Worker, scoreboard: Scoreboard) -> None:
    """Claim a slot for this worker, in its own process, and watch it.

    A worker of an unknown class claims a slot too: then it is known to be up, and no more. So does
    one that can't be watched: it is not made as its bases are, or has more threads than there are
    lines. Raises ClaimError, and whatever watching it raised.
    """
    allocate = partial(scoreboard.claim, worker.pid, worker.age)
    family = family_of(type(worker))
    if family is None:
        allocate(Kind.UNKNOWN, 0)
        return
    try:
        family.load()(worker, allocate)
    except Exception:
        scoreboard.detach()  # parts of it may be watched already
        allocate(Kind.FAILED, 0)
        raise


def heartbeats(arbiter: Arbiter, pids: Collection[int]) -> dict[int, float]:
    """Return when each of these workers last showed progress, by pid; see ``Heartbeat``."""
    found = {}
    for pid in pids:
        with suppress(KeyError, OSError, ValueError):  # it was reaped meanwhile
            found[pid] = arbiter.WORKERS[pid].tmp.last_update()
    return found


def kind_forked(arbiter: Arbiter) -> Kind:
    """Return how the workers that the arbiter forks now are watched."""
    family = family_of(arbiter.worker_class)
    return Kind.UNKNOWN if family is None else family.kind
