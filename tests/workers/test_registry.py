"""registry: the family of a class, and the instrumentation of users' variants."""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

import pytest
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.layout import SLOTS_AT
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import ASIDE, RETURNED, ROW_SIZE, SUBMITTED, TAKEN
from gunicorn_backlog.scoreboard.worker_row import WorkerRow
from gunicorn_backlog.workers import asgi, greenlet, gthread, sync, tornado, wsgi
from gunicorn_backlog.workers.in_flight import InFlight
from gunicorn_backlog.workers.registry import Allocate, family_of, instrument
from tests.lab.fake_arbiter import Worker
from tests.lab.waiting import wait_for

AGE = 1


@pytest.fixture
def scoreboard() -> Scoreboard:
    """Return a scoreboard with some slots."""
    return Scoreboard(slots=16)


@pytest.fixture
def claim(scoreboard: Scoreboard) -> Allocate:
    """Return the function that claims a slot."""
    return partial(scoreboard.claim, os.getpid(), AGE)


def seen(scoreboard: Scoreboard) -> WorkerRow:
    """Return this process's row, as a reader has it."""
    return scoreboard.reader.read({os.getpid(): AGE}).by_pid[os.getpid()]


def named(name: str, module: str, *bases: type) -> type:
    """Return a class with that ``__module__``."""
    return type(name, bases, {"__module__": module})


def test_a_family_is_known_by_the_names_of_bases() -> None:
    """Only base classes of gunicorn, uvicorn and aiohttp count, the nearest first."""
    from aiohttp.worker import GunicornWebWorker

    for worker_class, kind in (
        (SyncWorker, Kind.SYNC),
        (ThreadWorker, Kind.GTHREAD),
        (named("Own", "app", SyncWorker), Kind.SYNC),
        (named("UvicornWorker", "uvicorn_worker._workers", BaseWorker), Kind.ASGI),
        (named("UvicornWorker", "uvicorn.workers", BaseWorker), Kind.ASGI),
        (named("GunicornUVLoopWebWorker", "app", GunicornWebWorker), Kind.ASGI),
    ):
        family = family_of(worker_class)
        assert family is not None
        assert family.kind == kind
    assert family_of(BaseWorker) is None
    assert family_of(named("SyncWorker", "app.workers", BaseWorker)) is None


def test_an_unknown_class_claims_a_slot(scoreboard: Scoreboard) -> None:
    """A slot of an unknown class proves that the worker is up."""

    instrument(Worker(os.getpid(), AGE), scoreboard)
    assert seen(scoreboard).kind == Kind.UNKNOWN


def test_a_worker_that_can_not_be_instrumented(scoreboard: Scoreboard) -> None:
    """A worker unlike its base class serves, and its states are not invented."""

    class Own(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
        pid, age, tpool, handle_http2 = os.getpid(), AGE, ThreadPoolExecutor(2), None
        enqueue_req = property()  # has no getter

        def __init__(self) -> None:
            """Do not call the base class."""

        def handle(self, conn: object) -> object:
            """Handle nothing."""
            return conn

    worker = Own()
    worker.cfg = Threaded.cfg
    with pytest.raises(AttributeError):
        instrument(worker, scoreboard)
    assert seen(scoreboard).kind == Kind.FAILED
    assert worker.handle(1) == 1
    assert seen(scoreboard).kind == Kind.FAILED


@dataclass
class Threaded:
    """A gthread worker's parts, with a pool of the user's; servers' tests use real workers."""

    tpool: Executor
    sockets: tuple[socket.socket, ...] = ()
    pid: int = os.getpid()
    age: int = AGE
    released: Event = field(default_factory=Event)
    ran: int = 0

    class cfg:
        threads = 2
        is_ssl = False

    def handle_request(self, *args: object) -> object:
        return args

    def enqueue_req(self, *args: object) -> Future[object]:
        return self.tpool.submit(self.handle, *args)

    def handle(self, *args: object) -> object:
        self.ran += 1
        assert self.released.wait(10)
        return args


def test_a_pool_that_has_more_threads_than_it_says(scoreboard: Scoreboard, claim: Allocate) -> None:
    """All requests are served; those of threads without a record are in flight, too."""

    worker: Any = Threaded(ThreadPoolExecutor(4))
    worker.tpool._max_workers = 2
    gthread.instrument(worker, claim)
    worker.tpool._max_workers = 4
    futures = [worker.enqueue_req(number) for number in range(5)]
    wait_for("four threads", lambda: worker.ran == 4)
    state = seen(scoreboard)
    assert (state.capacity, state.busy, state.in_flight, state.queued) == (2, 4, 4, 1)
    worker.released.set()
    assert [future.result(10) for future in futures] == [(number,) for number in range(5)]
    state = seen(scoreboard)
    assert (state.busy, state.queued) == (0, 0)
    worker.tpool.shutdown()


def test_a_pool_that_takes_nothing_any_more(scoreboard: Scoreboard, claim: Allocate) -> None:
    """A connection that a closed pool refuses is not queued."""
    worker: Any = Threaded(ThreadPoolExecutor(2))
    gthread.instrument(worker, claim)
    worker.tpool.shutdown()
    with pytest.raises(RuntimeError):
        worker.enqueue_req(1)
    assert seen(scoreboard).queued == 0


def test_a_pool_whose_records_another_worker_overwrote(
    scoreboard: Scoreboard, claim: Allocate
) -> None:
    """With the greatest number in every record, all requests are served."""
    worker: Any = Threaded(ThreadPoolExecutor(2))
    gthread.instrument(worker, claim)
    (slot,) = scoreboard._mine
    memory, lines = scoreboard._memory, scoreboard.reader._layout.thread_rows_at
    for begin, end in ((SLOTS_AT + 24, SLOTS_AT + 56), (lines, lines + 3 * ROW_SIZE)):
        memory[begin:end] = (2**63 - 1).to_bytes(8, sys.byteorder) * ((end - begin) // 8)
    futures = [worker.enqueue_req(number) for number in range(6)]
    wait_for("two threads", lambda: worker.ran == 2)  # each with a record
    worker.released.set()
    assert [future.result(10) for future in futures] == [(number,) for number in range(6)]
    worker.tpool.shutdown()
    assert sum(record.words[TAKEN] for record in slot.threads) == 6
    assert slot.words[SUBMITTED] == 6
    assert scoreboard.reader.read({os.getpid(): AGE}).unread == [os.getpid()]
    slot.add(ASIDE, 0)  # as the next thread with HTTP/2 does; until then these two words are wrong
    slot.add(RETURNED, 0)
    state = seen(scoreboard)
    assert (state.timed_busy, state.busy, state.in_flight, state.queued) == (0, 0, 0, 0)


def test_a_pool_of_an_executor_without_a_size(scoreboard: Scoreboard, claim: Allocate) -> None:
    """The capacity of a pool without a size is gunicorn's setting."""

    class Plain(Executor):
        pass

    worker: Any = Threaded(Plain())
    gthread.instrument(worker, claim)
    assert seen(scoreboard).capacity == 2


@dataclass
class Served:
    """A worker that passes its app to a server."""

    wsgi: Any
    sockets: tuple[socket.socket, ...] = ()
    server_class: type | None = None
    wsgi_handler: Any = None

    def run(self) -> None:
        """Return without serving."""


def streamed() -> Iterator[bytes]:
    """Answer in two parts."""
    yield b"a"
    yield b"b"


@pytest.mark.parametrize(
    ("answer", "size"), [([b"a", b"b"], 2), ((b"a", b"b"), 2), (streamed(), None)]
)
def test_a_wsgi_answer_is_in_flight_until_it_is_closed(
    answer: Any, size: int | None, scoreboard: Scoreboard, claim: Allocate
) -> None:
    """The answer iterates like the app's, and has a length only if the app's has one."""
    worker: Any = Served(lambda environ, start_response: answer)
    wsgi.instrument(worker, claim(Kind.WSGI, 0))
    worker.run()
    returned = worker.wsgi({}, None)
    assert seen(scoreboard).in_flight == 1
    assert hasattr(returned, "__len__") == (size is not None)
    assert size is None or len(returned) == size
    assert list(returned) == [b"a", b"b"]
    returned.close()
    returned.close()
    assert seen(scoreboard).in_flight == 0


def test_a_wsgi_answer_closed_early_is_closed_in_the_app(
    scoreboard: Scoreboard, claim: Allocate
) -> None:
    """If the app's ``close`` raises, the request has ended."""

    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"])

        def close(self) -> None:
            raise RuntimeError("in the app")

    worker: Any = Served(lambda: Failing())
    wsgi.instrument(worker, claim(Kind.WSGI, 0))
    worker.run()
    with pytest.raises(RuntimeError, match="in the app"):
        worker.wsgi().close()
    assert seen(scoreboard).in_flight == 0


def test_an_app_that_fails_or_returns_nothing(scoreboard: Scoreboard, claim: Allocate) -> None:
    """The server gets the app's error."""
    in_flight = InFlight(claim(Kind.WSGI, 0))

    def fail() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        wsgi.counted(fail, in_flight)()
    answer = wsgi.counted(lambda: None, in_flight)()
    with pytest.raises(TypeError, match="'NoneType' object is not iterable"):
        iter(answer)
    answer.close()
    assert seen(scoreboard).in_flight == 0


def test_an_app_in_a_container_of_tornados(scoreboard: Scoreboard, claim: Allocate) -> None:
    """The container stays, since gunicorn inspects its class; the app in it is wrapped."""
    from tornado.wsgi import WSGIContainer

    container = WSGIContainer(lambda environ, start_response: [b"a"])
    worker: Any = Served(container)
    tornado.instrument(worker, claim)
    assert worker.wsgi is container
    answer = container.wsgi_application({}, print)
    assert seen(scoreboard).in_flight == 1
    answer.close()
    assert seen(scoreboard).in_flight == 0


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """An app of ASGI 3."""
    await send(seen(receive).in_flight)


def made() -> Any:
    """Return an ASGI app, as a factory does."""
    return answering


def of_asgi_2(scope: Any) -> Any:
    """An app of ASGI 2."""
    return partial(answering, scope)


@pytest.mark.parametrize(
    ("app", "options"), [(answering, {}), (made, {"factory": True}), (of_asgi_2, {})]
)
def test_what_uvicorn_makes_of_an_app(
    app: Any, options: dict[str, Any], scoreboard: Scoreboard, claim: Allocate
) -> None:
    """uvicorn inspects the original app; the result is wrapped. A lifespan is no request."""
    from uvicorn.config import Config as UvicornConfig

    @dataclass
    class Uvicorn:
        config: Any
        sockets: tuple[socket.socket, ...] = ()

    worker: Any = Uvicorn(UvicornConfig(app, log_config=None, proxy_headers=False, **options))
    asgi.instrument_uvicorn(worker, claim)
    worker.config.load()
    sent = []

    async def send(number: int) -> None:
        sent.append(number)

    async def serve() -> None:
        await worker.config.loaded_app({"type": "http"}, scoreboard, send)
        await worker.config.loaded_app({"type": "lifespan"}, scoreboard, send)

    asyncio.run(serve())
    assert sent == [1, 0]
    assert seen(scoreboard).in_flight == 0


def test_a_server_of_gevents_keeps_its_app(scoreboard: Scoreboard, claim: Allocate) -> None:
    """gevent's handler is wrapped: those of websockets inspect the app, and close no answer."""

    class Handler:
        def run_application(self) -> int:
            return seen(scoreboard).in_flight

    app = object()
    worker: Any = Served(app, server_class=Served, wsgi_handler=Handler)
    greenlet.instrument(worker, claim)
    assert worker.wsgi is app
    assert worker.wsgi_handler().run_application() == 1
    assert seen(scoreboard).in_flight == 0


def test_a_server_without_such_a_handler(scoreboard: Scoreboard, claim: Allocate) -> None:
    """Without ``run_application`` the app is wrapped, and keeps its attributes."""

    class App:
        name = "mine"

        def __call__(self) -> list[bytes]:
            return [b"a"]

    app = App()
    worker: Any = Served(app, server_class=Served)
    greenlet.instrument(worker, claim)
    assert worker.wsgi is app  # while the user's hooks run
    worker.run()
    assert worker.wsgi.name == "mine"
    assert copy.copy(worker.wsgi).name == "mine"
    answer: Any = worker.wsgi()
    assert seen(scoreboard).in_flight == 1
    answer.close()
    assert seen(scoreboard).in_flight == 0


def test_methods_called_by_keyword(scoreboard: Scoreboard, claim: Allocate) -> None:
    """A user's subclass may pass arguments by keyword."""
    worker: Any = Threaded(ThreadPoolExecutor(1))
    worker.released.set()
    worker.handle = lambda conn: conn
    worker.enqueue_req = lambda conn: worker.tpool.submit(worker.handle, conn=conn)
    gthread.instrument(worker, claim)
    assert worker.enqueue_req(conn=3).result(10) == 3
    worker.tpool.shutdown()


@pytest.mark.parametrize("args", [(), (1,), ("request", "client"), (1, 2, 3, 4, 5)])
def test_methods_that_a_subclass_made_otherwise(
    args: tuple[object, ...], scoreboard: Scoreboard, claim: Allocate
) -> None:
    """With other arguments than gunicorn's the request is served, and its wait is not known."""

    @dataclass
    class Own:
        sockets: list[socket.socket]
        cfg: Any = Threaded.cfg

        def handle(self, *args: object) -> object:
            return self.handle_request(*args)

        def handle_request(self, *args: object) -> object:
            return args

    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        worker: Any = Own([tcp, unix])
        sync.instrument(worker, claim)
        assert worker.handle(*args) == args
    assert seen(scoreboard).begun == 1
    assert not any(scoreboard.reader.waits())
