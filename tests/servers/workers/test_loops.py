"""Event loops of real workers: running time, delays, and what they cost an idle worker."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.scoreboard.loop_row import Meter
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary, summarize
from tests.conftest import SERVERS, ServerFactory
from tests.lab.epoll_waits import blocked_s, traced
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.loop_rows import Loops, window
from tests.lab.procfs import field
from tests.lab.pushes import next_pushes, pushes
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

ASYNC, GREENLETS = ("task", "callback"), ("request", "spawn")
APP = "tests.lab.duty_app:"
Installed = Callable[[str], Gunicorn]


@dataclass(frozen=True)
class Loop:
    """A worker class with one kind of event loop.

    :param work: the kinds of work that its app has.
    :param versions: of gunicorn; the last one is used in the suite.
    """

    id: str
    arguments: tuple[str, ...]
    app: str
    work: tuple[str, ...]
    meter: Meter = Meter.EXACT
    versions: tuple[str, ...] = ("20.1.0", "27.0.1")

    def start(self, serve: ServerFactory, gunicorn: Gunicorn) -> Loops:
        """Return the loops of a server with one worker."""
        return Loops(self.serve(serve, gunicorn))

    def serve(self, serve: ServerFactory, gunicorn: Gunicorn, **environ: str) -> Server:
        """Return a server with one worker."""
        arguments = ("--worker-class", *self.arguments)
        environ = {"GUNICORN_BACKLOG_INTERVAL": "60"} | environ
        server = serve(
            gunicorn, workers=1, arguments=arguments, app=f"{APP}{self.app}", environ=environ
        )
        return server.wait_until_it_serves()


UVICORN = Loop("uvicorn, asyncio", ("uvicorn_worker.UvicornH11Worker",), "asgi", ASYNC)
UVLOOP = Loop("uvicorn, uvloop", ("uvicorn_worker.UvicornWorker",), "asgi", ASYNC, Meter.BEAT)
ASGI = Loop(
    "asgi, asyncio",
    ("asgi", "--asgi-loop", "asyncio"),
    "asgi",
    ASYNC,
    versions=("25.3.0", "27.0.1"),
)
ASGI_UVLOOP = Loop(
    "asgi, uvloop",
    ("asgi", "--asgi-loop", "uvloop"),
    "asgi",
    ASYNC,
    Meter.BEAT,
    versions=("25.3.0", "27.0.1"),
)
TORNADO = Loop("tornado", ("tornado",), "tornado", ASYNC, versions=("23.0.0", "27.0.1"))
GEVENT = Loop("gevent", ("gevent",), "wsgi", GREENLETS)
PYWSGI = Loop("gevent_pywsgi", ("gevent_pywsgi",), "wsgi", GREENLETS)
EVENTLET = Loop("eventlet", ("eventlet",), "wsgi", GREENLETS, versions=("23.0.0", "25.3.0"))
KINDS = (UVICORN, UVLOOP, GEVENT, EVENTLET)  # one class of each kind of loop
OTHERS = (ASGI, ASGI_UVLOOP, TORNADO, PYWSGI)
MATRIX = [(loop, version) for loop in KINDS + OTHERS for version in loop.versions]

each_kind = pytest.mark.parametrize("loop", KINDS, ids=lambda it: it.id)


@pytest.fixture(params=KINDS, ids=lambda it: it.id, scope="module")
def kind_and_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, installed: Installed
) -> Iterator[tuple[Loop, Server]]:
    """Each kind of loop, with one server for all tests that leave it as they found it."""
    loop: Loop = request.param
    with ExitStack() as stack:

        def start(gunicorn: Gunicorn, **options: object) -> Server:
            folder = tmp_path_factory.mktemp("loops")
            return stack.enter_context(Server(gunicorn, folder, **options))  # type: ignore[arg-type]  # passed on

        yield loop, loop.serve(start, installed(loop.versions[-1]))


@pytest.fixture
def measured(
    request: pytest.FixtureRequest, kind_and_server: tuple[Loop, Server]
) -> tuple[Loop, Loops]:
    """Each kind of loop, with its loop rows when it is measured."""
    loop, server = kind_and_server
    request.node.stash.setdefault(SERVERS, []).append(server)
    loops = Loops(server)
    loops.wait_for_meter(loop.meter)
    return loop, loops


def test_duty_cycles(measured: tuple[Loop, Loops]) -> None:
    """Idle, half busy, busy, or busy with callbacks that do nothing: as the app's own clock."""
    loop, loops = measured
    one, other = loop.work
    for kind, percent in ((one, 0), (one, 50), (other, 50), (other, 100), ("storm", 100)):
        found = loops.wait_until_they_agree(kind, percent)
        assert {reading.state.meter for reading in found.readings} == {loop.meter}


@pytest.mark.parametrize("loop", OTHERS, ids=lambda it: it.id)
def test_half_busy(loop: Loop, serve: ServerFactory, installed: Installed) -> None:
    """Each other worker class measures its loop, too."""
    loops = loop.start(serve, installed(loop.versions[-1]))
    loops.wait_for_meter(loop.meter)
    loops.wait_until_they_agree(loop.work[-1], 50)


@pytest.mark.soak
@pytest.mark.parametrize(("loop", "version"), MATRIX, ids=lambda it: getattr(it, "id", it))
def test_all_duty_cycles(
    loop: Loop, version: str, serve: ServerFactory, installed: Installed
) -> None:
    """All shares, all kinds of work, the oldest and the newest gunicorn of each class."""
    loops = loop.start(serve, installed(version))
    loops.wait_for_meter(loop.meter)
    for kind in loop.work:
        for percent in (0, 10, 30, 50, 80, 100):
            found = loops.wait_until_they_agree(kind, percent)
            print(f"{loop.id} {version} {kind} {percent}: {found.ours:.1f} {found.app:.1f}")
    loops.wait_until_they_agree("storm", 100)


@pytest.mark.soak
@each_kind
def test_waits_that_strace_measures(
    loop: Loop, serve: ServerFactory, installed: Installed, tmp_path: Path
) -> None:
    """The time that the loop does not run is the sum of its epoll waits, within 2 points.

    On a busy machine strace itself delays each return from epoll: until then it agrees seldom.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    loops = loop.start(serve, installed(loop.versions[-1]))
    loops.wait_for_meter(loop.meter)
    (pid,) = loops.server.worker_pids()
    with traced(pid, tmp_path) as log:

        def agree() -> bool:
            path = f"/duty/{loop.work[-1]}/40/2"
            _, readings = loops.readings_during(lambda: loops.server.get(path))
            first, last = readings[len(readings) // 5], readings[-len(readings) // 5]
            time.sleep(0.2)  # strace writes a wait when it ends
            span_ns = last.until_ns - first.until_ns
            idle = 100 - 100 * (last.ran_ns - first.ran_ns) / span_ns
            blocked = 100 * blocked_s(log, first.until_ns, last.until_ns) * 1e9 / span_ns
            print(f"{loop.id}: not running {idle:.1f} %, in epoll {blocked:.1f} %")
            return abs(idle - blocked) <= 2 and 40 < idle < 80

        wait_for("strace to agree", agree, deadline_s=120)


@forms("seconds", short=2, long=5)
def test_a_blocked_loop(measured: tuple[Loop, Loops], seconds: int) -> None:
    """A block counts as running time while it lasts, and as delay of each beat in it."""
    _, loops = measured
    before = loops.memory.reader.delays()
    _, readings = loops.readings_during(lambda: loops.server.get(f"/block/{seconds}"))
    middle = readings[len(readings) // 4 : -len(readings) // 8]
    assert window(middle, []).ours > 99.5
    assert middle[-1].state.late_ns(time.monotonic_ns()) > seconds * 0.7e9
    since = wait_for("the late beat", lambda: delays_since(loops, before, seconds))
    assert since.longest_ms == pytest.approx(seconds * 1000, abs=100 + seconds * 32)
    assert since.average_ms < seconds * 600


def delays_since(loops: Loops, before: tuple[int, ...], seconds: float) -> WaitSummary | None:
    """Return the summary of the delays; None before those of the block are counted."""
    now = loops.memory.reader.delays()
    since = summarize([after - earlier for after, earlier in zip(now, before, strict=True)])
    return since if since.longest_ms > seconds * 500 else None


def test_an_idle_worker(
    measured: tuple[Loop, Loops], serve: ServerFactory, installed: Installed
) -> None:
    """After a kill, a reload, errors and cancelled tasks the loop runs less than 1 % of the time.

    The worker wakes up at most ten times per second more than without us.
    """
    loop, loops = measured
    without = loop.serve(serve, installed(loop.versions[-1]), GUNICORN_BACKLOG_ENABLED="false")
    (killed,) = loops.server.worker_pids()
    os.kill(killed, signal.SIGKILL)
    wait_for("another worker", lambda: loops.server.worker_pids() - {killed})
    former = loops.server.worker_pids()
    loops.server.reload()
    wait_for("the new worker", lambda: one_other(loops.server, former))
    for path in ("/fail", "/cancel", "/fail", "/cancel", "/fail"):
        loops.server.wait_until_it_serves().get(path)
    loops.wait_for_meter(loop.meter)
    wait_for("an idle loop", lambda: loops.utilization() < 1)
    assert loops.worker().in_flight == 0
    wait_for(
        "at most ten more wake-ups per second",
        lambda: further_wakeups_per_s(loops.server, without) <= 10.5,
    )


def one_other(server: Server, former: set[int]) -> bool:
    """Return whether a server has one worker, which is not a former one."""
    pids = server.worker_pids()
    return len(pids) == 1 and not pids & former


def further_wakeups_per_s(server: Server, other: Server) -> float:
    """Return how much more often than the other's a worker wakes up, in the next two seconds."""
    before, begin_s = wakeups(server) - wakeups(other), time.monotonic()
    time.sleep(2)
    return (wakeups(server) - wakeups(other) - before) / (time.monotonic() - begin_s)


def wakeups(server: Server) -> int:
    """Return how often a worker's main thread has blocked, as the kernel counts it."""
    (pid,) = server.worker_pids()
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return field(status, "voluntary_ctxt_switches")


def test_gevent_on_libuv(serve: ServerFactory, installed: Installed, agent: StandInAgent) -> None:
    """No utilization, and one log line for all workers and reloads; the delay is measured."""
    environ = {
        "GEVENT_LOOP": "libuv-cffi",
        "GUNICORN_BACKLOG_URL": agent.url,
        "GUNICORN_BACKLOG_INTERVAL": "0.1",
    }
    server = serve(
        installed(GEVENT.versions[-1]),
        arguments=("--worker-class", "gevent"),
        app=f"{APP}wsgi",
        environ=environ,
    )
    server.wait_until_it_serves()
    wait_for("the line", lambda: server.our_lines)
    former = server.worker_pids()
    server.reload()
    wait_for("new workers", lambda: len(pids := server.worker_pids()) == 2 and not pids & former)

    def has_delay() -> bool:
        server.get("/block/0.5")  # before a worker's first beat nothing is measured
        return max(values(agent, "gunicorn.loop.delay.max"), default=0) > 400

    wait_for("the block's delay", has_delay)
    for push in next_pushes(agent, 3):
        assert push.all("gunicorn.loop.delay.max")
        assert push.all("gunicorn.workers.utilization") == []
        assert push.all("gunicorn.workers.saturated") == []
    (line,) = server.our_lines
    assert "a worker's event loop can't be measured (gevent on libuv" in line


def values(agent: StandInAgent, name: str) -> list[float]:
    """Return the values of a metric in all pushes."""
    lines = [line for push in pushes(agent) for line in push.all(name)]
    return [value for line in lines for value in line.values]
