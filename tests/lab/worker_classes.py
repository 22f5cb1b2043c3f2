"""The worker classes of the tests: gunicorn's options, abilities, and versions with the class."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from tests.lab.gunicorn_versions import BETWEEN, VERSIONS

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

WORKERS = 2
ALL = ("20.1.0", *BETWEEN, "27.0.1")
NEWEST = VERSIONS[-1]
label = attrgetter("label")  # the ids of a test with worker classes
WSGI, ASGI, TORNADO, AIOHTTP = (
    "tests.lab.wsgi_app:app",
    "tests.lab.asgi_app:app",
    "tests.lab.tornado_app:app",
    "tests.lab.aiohttp_app:app",
)


@dataclass(frozen=True)
class WorkerClass:
    """A worker class of gunicorn or of another package.

    :param name: gunicorn's name of the class; empty: no option, because the config sets the class.
    :param capacity: the requests that two workers serve at a time; None: any number.
    :param threads: threads per worker; 0: no pool.
    :param eager: whether workers accept connections beyond their capacity.
    """

    name: str
    capacity: int | None = None
    threads: int = 0
    eager: bool = True
    app: str = WSGI
    versions: tuple[str, ...] = ALL

    @property
    def arguments(self) -> tuple[str, ...]:
        """The options for gunicorn."""
        name = ("--worker-class", self.name) if self.name else ()
        return (*name, *(("--threads", str(self.threads)) if self.threads else ()))

    @property
    def label(self) -> str:
        """The name and the app, for the id of a test."""
        return f"{self.name}-{self.app[10:14]}"

    def case(self, version: str) -> ParameterSet:
        """Return a test's parameters: the class and a version, which may be a nightly one.

        Intermediate versions are nightly ones, except the newest version that has the class.
        """
        nightly = version in BETWEEN and version != self.versions[-1]
        marks = [pytest.mark.nightly] if nightly else []
        return pytest.param(self, version, id=f"{self.label}-{version}", marks=marks)


SYNC = WorkerClass("sync", capacity=2, eager=False)
GTHREAD = WorkerClass("gthread", capacity=4, threads=2)
GEVENT = WorkerClass("gevent")
PYWSGI = WorkerClass("gevent_pywsgi")
# gunicorn 20.1.0 needs eventlet before 0.30.3, which needs Python before 3.10.
EVENTLET = WorkerClass("eventlet", versions=BETWEEN)
TORNADO_WSGI = WorkerClass("tornado")
TORNADO_OWN = WorkerClass("tornado", app=TORNADO, versions=ALL[1:])
ASGI_OWN = WorkerClass("asgi", app=ASGI, versions=ALL[2:])
UVICORN = WorkerClass("uvicorn_worker.UvicornWorker", app=ASGI)
UVICORN_FORMER = WorkerClass("uvicorn.workers.UvicornWorker", app=ASGI)
AIOHTTP_ASYNCIO = WorkerClass("aiohttp.GunicornWebWorker", app=AIOHTTP)
AIOHTTP_UVLOOP = WorkerClass("aiohttp.worker.GunicornUVLoopWebWorker", app=f"{AIOHTTP}_factory")

CLASSES = (
    SYNC,
    GTHREAD,
    GEVENT,
    PYWSGI,
    EVENTLET,
    TORNADO_WSGI,
    TORNADO_OWN,
    ASGI_OWN,
    UVICORN,
    UVICORN_FORMER,
    AIOHTTP_ASYNCIO,
    AIOHTTP_UVLOOP,
)


def own(name: str, base: WorkerClass) -> WorkerClass:
    """Return a user's subclass of a class."""
    return WorkerClass(
        f"tests.lab.worker_subclasses.{name}",
        base.capacity,
        base.threads,
        base.eager,
        base.app,
        (NEWEST,),
    )


SUBCLASSES = (
    own("OwnSyncWorker", SYNC),
    own("OwnThreadWorker", GTHREAD),
    own("OwnGeventWorker", GEVENT),
    own("OwnPyWSGIWorker", PYWSGI),
    own("OwnTornadoWorker", TORNADO_WSGI),
    own("OwnASGIWorker", ASGI_OWN),
    own("OwnUvicornWorker", UVICORN),
    own("OwnAiohttpWorker", AIOHTTP_ASYNCIO),
)
