"""The waits that a worker with an event loop records, against stopwatches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import CONFIG, Server
from tests.lab.stopwatch import Client, waits_of
from tests.lab.waiting import wait_for

LONGEST_MS = 20.0
SINCE_25 = ("25.3.0", "27.0.1")

# The recorded waits in ms, not in buckets: the worker writes one line for each.
_TEED = """
import os
from gunicorn_backlog.workers import received_wait
bucket_of = received_wait.bucket_of
def teed(waited_ms):
    sink = os.open(os.environ["SINK"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(sink, b"%d\\n" % waited_ms)
    os.close(sink)
    return bucket_of(waited_ms)
received_wait.EXACT_MS, received_wait.bucket_of = 0, teed
"""


@dataclass(frozen=True)
class Case:
    """A worker class with one kind of event loop.

    :param keeps_arrival: bytes that arrive behind a head that was read do not change its wait.
    :param websockets: the app serves them.
    """

    id: str
    arguments: tuple[str, ...]
    app: str
    versions: tuple[str, ...] = ("20.1.0", "27.0.1")
    keeps_arrival: bool = True
    websockets: bool = True

    def start(
        self,
        serve: Callable[..., Server],
        gunicorn: Gunicorn,
        folder: Path,
        *options: str,
        bind: tuple[str, ...] | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> Recorded:
        """Start a server with one worker, and return the waits that it records."""
        server = serve(
            gunicorn,
            workers=1,
            config=CONFIG + _TEED,
            arguments=("--worker-class", *self.arguments, "--keep-alive", "20", *options),
            app=f"tests.lab.clock_apps:{self.app}",
            bind=bind,
            environ={"SINK": str(folder / "sink"), "GUNICORN_BACKLOG_INTERVAL": "60", **environ},
        )
        return Recorded(server, folder / "sink")


ASGI = Case("asgi, asyncio", ("asgi", "--asgi-loop", "asyncio"), "asgi", SINCE_25)
ASGI_UVLOOP = Case("asgi, uvloop", ("asgi", "--asgi-loop", "uvloop"), "asgi", SINCE_25)
H11 = Case("uvicorn, h11", ("uvicorn_worker.UvicornH11Worker",), "asgi")
HTTPTOOLS = Case("uvicorn, httptools", ("tests.lab.worker_subclasses.AsyncioUvicorn",), "asgi")
UVLOOP = Case("uvicorn, uvloop", ("uvicorn.workers.UvicornWorker",), "asgi")
AIOHTTP = Case("aiohttp, asyncio", ("aiohttp.GunicornWebWorker",), "aiohttp")
AIOHTTP_UVLOOP = Case("aiohttp, uvloop", ("aiohttp.GunicornUVLoopWebWorker",), "aiohttp")
TORNADO_WSGI = Case("tornado, WSGI", ("tornado",), "wsgi", keeps_arrival=False, websockets=False)
TORNADO = Case("tornado", ("tornado",), "tornado", ("23.0.0", "27.0.1"), False, False)
PYWSGI = Case("pywsgi", ("gevent_pywsgi",), "wsgi", keeps_arrival=False, websockets=False)
CASES = (
    ASGI,
    ASGI_UVLOOP,
    H11,
    HTTPTOOLS,
    UVLOOP,
    AIOHTTP,
    AIOHTTP_UVLOOP,
    TORNADO_WSGI,
    TORNADO,
    PYWSGI,
)


class Recorded:
    """A server with one worker, and the waits that it records."""

    def __init__(self, server: Server, sink: Path) -> None:
        """Skip nothing that is recorded already."""
        self.server = server
        self._sink = sink
        self._seen = 0

    def all(self) -> list[int]:
        """Return all waits so far, in ms."""
        return list(map(int, self._sink.read_text().split())) if self._sink.exists() else []

    def skip_all(self) -> None:
        """Forget the requests so far; all of them have been answered."""
        self._seen = len(self.all())

    def of_the_next(self, requests: int) -> list[int]:
        """Return the waits of so many requests, sorted; fail if there are more."""
        wait_for(f"{requests} waits", lambda: len(self.all()) >= self._seen + requests)
        found = self.all()[self._seen :]
        self._seen += len(found)
        assert len(found) == requests
        return sorted(found)

    def blocks(self) -> int:
        """Return the number of requests that have blocked the loop, or do so now."""
        journal = self.server.journal
        return len(journal.requests()) + journal.in_flight().total()

    def begin_block(self, client: Client, ms: int) -> None:
        """Send a request that blocks the loop, and return when the loop is blocked."""
        before = self.blocks()
        client.send(str(ms))
        wait_for("the block", lambda: self.blocks() > before)


@dataclass(frozen=True)
class Limits:
    """The greatest errors of recorded waits.

    :param outliers: share of the errors that may exceed LONGEST_MS.
    """

    median_ms: float
    outliers: float

    def check(
        self, name: str, recorded: Sequence[int], waited: Sequence[tuple[float, float]]
    ) -> None:
        """Compare recorded waits with the shortest and the longest one that each client saw.

        The request arrived while the client was sending it: the client may be interrupted then.
        """
        errors = [
            max(0.0, low - ms, ms - high)
            for ms, (low, high) in zip(sorted(recorded), sorted(waited), strict=True)
        ]
        median_ms, longest_ms = statistics.median(errors), max(errors)
        print(f"{name}: {len(errors)} requests, errors: {median_ms:.1f}, {longest_ms:.1f} ms")
        assert median_ms < self.median_ms
        outliers = sum(error >= LONGEST_MS for error in errors)
        assert outliers <= math.ceil(self.outliers * len(errors))


def waits(clients: Sequence[Client]) -> list[tuple[float, float]]:
    """Return the shortest and the longest possible wait of each client that has sent, in ms."""
    waited_ms = waits_of(clients)
    return [(ms - client.sending_ms, ms) for client, ms in zip(clients, waited_ms, strict=True)]
