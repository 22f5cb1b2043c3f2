"""Signal handlers of the app that raise while one of our functions runs."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

import gunicorn_backlog
from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.wait_histogram import NOT_KNOWN
from gunicorn_backlog.scoreboard.worker_row import WorkerRow
from gunicorn_backlog.workers import exposed_requests, last_wait, request_wait, tcp_wait
from gunicorn_backlog.workers.in_flight import InFlight
from tests.benchmarks import families
from tests.lab.short_and_soak import forms

OURS = str(Path(gunicorn_backlog.__file__).parent)
EVERY_S = 50e-6
# Python 3.10 runs handlers also before ``with`` releases its lock after an exception. A second
# exception there, while the first one leaves the block, leaves any lock held.
ONE_AT_A_TIME = sys.version_info < (3, 11)
FAMILIES = {
    "sync": families.sync_request,
    "sync, each wait measured": families.sync_request,
    "gthread": families.gthread_request,
    "gthread, each wait measured": families.gthread_request,
    "gevent": families.greenlet_request,
    "asgi": families.asgi_request,
    "wsgi": families.wsgi_request,
}
# Python runs no signal handlers in gthread's threads. A handler can interrupt the ``close`` of a
# WSGI answer before it begins.
EXACT = ("sync", "sync, each wait measured", "gevent", "asgi")


class Interruption(BaseException):
    """The handler's exception."""


@pytest.fixture(autouse=True)
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a family measure each wait if its name says it; of others from the first on none."""
    measured = "each wait measured" in request.node.name
    monkeypatch.setattr(last_wait, "FRESH_NS", 0 if measured else 1 << 62)
    monkeypatch.setattr(tcp_wait, "TICK_MS", 1 << 32)


@pytest.fixture
def accepted() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return a listener and a connection that it accepted."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as sock,
    ):
        yield listener, sock


def instrumented(
    family: str, accepted: tuple[socket.socket, socket.socket]
) -> tuple[Scoreboard, Callable[[], object]]:
    """Return a scoreboard, and a request of an instrumented worker."""
    listener, sock = accepted
    scoreboard = Scoreboard(slots=16)
    listeners = () if family == "wsgi" else (listener,)
    request: Any = FAMILIES[family](partial(scoreboard.claim, os.getpid(), 1), *listeners)
    return scoreboard, lambda: request(sock)


def seen(scoreboard: Scoreboard) -> WorkerRow:
    """Return this process's row, as a reader has it."""
    return scoreboard.reader.read({os.getpid(): 1}).by_pid[os.getpid()]


def is_ours(frame: FrameType | None) -> bool:
    """Return whether the frame runs one of our functions."""
    return frame is not None and frame.f_code.co_filename.startswith(OURS)


def begin_alarms() -> None:
    """Send SIGALRM repeatedly from now on."""
    signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)


@contextmanager
def alarms() -> Iterator[None]:
    """Send SIGALRM repeatedly; the handler raises while one of our functions runs."""

    def handle(_: int, frame: FrameType | None) -> None:
        if is_ours(frame):
            if ONE_AT_A_TIME:
                signal.setitimer(signal.ITIMER_REAL, 0)
            raise Interruption

    former = signal.signal(signal.SIGALRM, handle)
    begin_alarms()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


# A handler that raises between the call of a coroutine function and its await, or in a destructor.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@forms("interruptions", short=300, long=20_000)
@pytest.mark.parametrize("family", FAMILIES)
def test_alarms_at_any_time(
    interruptions: int, family: str, accepted: tuple[socket.socket, socket.socket]
) -> None:
    """No lock stays held, the next request is served, and every begun request has ended.

    Python 3.10 runs handlers between any two instructions: before ``try``, too, where no code can
    end a request that was counted.
    """
    scoreboard, request = instrumented(family, accepted)
    raised = requests = 0
    with alarms():
        while raised < interruptions and requests < 5000 * interruptions:
            requests += 1
            try:
                request()
            except Interruption:
                raised += 1
                begin_alarms()
            if scoreboard._mine[0].lock.locked():
                break
    assert not scoreboard._mine[0].lock.locked()
    assert raised == interruptions
    state = seen(scoreboard)
    assert state.begun <= requests
    if family in (EXACT if sys.version_info >= (3, 11) else EXACT[:2]):
        assert (state.busy, state.in_flight, state.queued) == (0, 0, 0)
    request()
    assert seen(scoreboard).begun == state.begun + 1


@contextmanager
def raising_at(number: int) -> Iterator[list[int]]:
    """Raise at one of the places where Python checks for signals in our functions.

    These are the start of a function and the return from C. Return the number of places.
    """
    places = [0]

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return", "c_exception") and is_ours(frame):
            places[0] += 1
            if places[0] == number:
                raise Interruption

    sys.setprofile(look)
    try:
        yield places
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("family", EXACT)
def test_each_place_at_which_a_handler_may_raise(
    family: str, accepted: tuple[socket.socket, socket.socket]
) -> None:
    """The lock is free, nothing is in flight, and the busy time never falls."""
    scoreboard, request = instrumented(family, accepted)
    for _ in range(3):
        request()
    with raising_at(0) as places:
        request()
    assert places[0] > 3
    for number in range(1, places[0] + 1):
        before = seen(scoreboard)
        with raising_at(number), pytest.raises(Interruption):
            request()
        after = seen(scoreboard)
        assert not scoreboard._mine[0].lock.locked()
        assert (after.busy, after.in_flight, after.timed_busy) == (0, 0, 0)
        assert before.worked_ns <= after.worked_ns
        assert before.begun <= after.begun <= before.begun + 1
    request()


def test_a_begin_that_is_broken_off_counts_nothing() -> None:
    """If ``begin`` raises, no request has begun."""
    scoreboard = Scoreboard(slots=1)
    in_flight = InFlight(scoreboard.claim(os.getpid(), 1, Kind.WSGI, 0))
    with raising_at(0) as places:
        number = in_flight.begin()
    in_flight.end(number)
    for number in range(1, places[0] + 1):
        with raising_at(number), pytest.raises(Interruption):
            in_flight.begin()
        assert seen(scoreboard).in_flight == 0


ERRORS = [TimeoutError, TimeoutError(110, "of the app"), OSError, ConnectionResetError, ValueError]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_of_a_handler_is_not_taken_for_ours(
    error: Exception | type[Exception], accepted: tuple[socket.socket, socket.socket]
) -> None:
    """The handler's error reaches the app's server, and the interrupted request is not counted."""

    class Interrupted(socket.socket):
        def getsockopt(self, *args: Any) -> Any:
            signal.raise_signal(signal.SIGALRM)
            return super().getsockopt(*args)

    def handle(_: int, frame: FrameType | None) -> None:
        raise error

    listener, sock = accepted
    scoreboard = Scoreboard(slots=1)
    request = families.sync_request(partial(scoreboard.claim, os.getpid(), 1), listener)
    former = signal.signal(signal.SIGALRM, handle)
    try:
        with (
            Interrupted(fileno=os.dup(sock.fileno())) as interrupted,
            pytest.raises(error if isinstance(error, type) else type(error)),
        ):
            request(interrupted)
    finally:
        signal.signal(signal.SIGALRM, former)
    assert (seen(scoreboard).begun, seen(scoreboard).busy) == (0, 0)
    request(sock)
    assert seen(scoreboard).begun == 1


class InPython(socket.socket):
    """A socket with methods in Python, as in gevent."""

    def getsockopt(self, *args: Any) -> Any:
        """Read the option from the kernel."""
        return super().getsockopt(*args)


@pytest.mark.parametrize("kind", [socket.socket, InPython])
def test_what_the_kernel_refuses_is_ours(
    kind: type[socket.socket], accepted: tuple[socket.socket, socket.socket]
) -> None:
    """With a closed or a Unix socket the request is served and counted, without a wait."""
    scoreboard = Scoreboard(slots=1)
    request = families.sync_request(partial(scoreboard.claim, os.getpid(), 1), accepted[0])
    closed = kind(fileno=os.dup(accepted[1].fileno()))
    closed.close()
    with kind(socket.AF_UNIX) as unix, kind(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for sock in (closed, unix, udp):
            request(sock)
    assert seen(scoreboard).begun == 3
    assert not any(scoreboard.reader.waits())


def test_an_error_of_the_system_call_by_its_frame(
    monkeypatch: pytest.MonkeyPatch, accepted: tuple[socket.socket, socket.socket]
) -> None:
    """An error without an errno is ours if the call itself raised it, also with request_wait."""
    monkeypatch.setattr(tcp_info, "LAST_DATA_SIZE", -1)  # Python refuses this size
    with pytest.raises(OSError, match="out of range") as raised:
        accepted[1].getsockopt(tcp_info.IPPROTO_TCP, tcp_info.TCP_INFO, -1)
    assert raised.value.errno is None
    args = (None, accepted[1])
    measure = tcp_wait.measurement(1, False, None, last_wait.LastWait(skips=False))
    assert measure(args) == NOT_KNOWN
    assert exposed_requests.wait_of(0, 1, False, None, True)(args) is None


def test_a_handler_that_raises_while_a_proxys_header_is_read() -> None:
    """On a Unix socket the handler's TimeoutError reaches the server; the lock is free."""

    class Request:
        @property
        def headers(self) -> list[tuple[str, str]]:
            raise TimeoutError("of the app")

    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    with socket.socket(socket.AF_UNIX) as unix:
        handle = request_wait.instrument_requests(print, [unix], slot, in_connection=True)
        with pytest.raises(TimeoutError, match="of the app"):
            handle(Request(), SimpleNamespace(sock=unix))
    assert not slot.lock.locked()
