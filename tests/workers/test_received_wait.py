"""received_wait: which requests are measured, with real sockets and a clock of the test."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.scoreboard.wait_histogram import BUCKETS, bucket_of
from gunicorn_backlog.workers.asgi_waits import measure_uvicorn
from gunicorn_backlog.workers.last_wait import FRESH_NS, TICK_MS
from gunicorn_backlog.workers.loops.beat import Beat, LoopMeter
from gunicorn_backlog.workers.loops.poll_timer import PollTimer, SelectTimer
from gunicorn_backlog.workers.loops.watch import watch_asyncio
from gunicorn_backlog.workers.received_wait import NOT_KNOWN_NS, Headers, ReceivedWaits
from tests.lab.last_data import last_data_recv_ms
from tests.lab.waiting import wait_for

OLD_MS = 50


class Tcp(NamedTuple):
    """A listener, and both ends of a connection that it accepted."""

    listener: socket.socket
    accepted: socket.socket
    client: socket.socket

    def age(self) -> None:
        """Let the connection's bytes wait for OLD_MS at least."""
        wait_for("old bytes", lambda: (last_data_recv_ms(self.accepted) or 0) >= OLD_MS)


class Meter(LoopMeter):
    """A loop whose polls sleep or not, as the test requires."""

    sleeps = True

    def measure(self, now_ns: int) -> Any:
        """Measure nothing."""

    def mark(self, listening: Iterable[int]) -> bool:
        """Mark nothing; all listeners are watched."""
        return True

    def slept(self) -> bool:
        """Return whether the latest poll slept."""
        return self.sleeps


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_ns = time.monotonic_ns()

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def tcp() -> Iterator[Tcp]:
    """Return an accepted connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        yield Tcp(listener, accepted, client)


@pytest.fixture
def scoreboard() -> Scoreboard:
    """Return a scoreboard with some slots."""
    return Scoreboard(slots=16)


@pytest.fixture
def slot(scoreboard: Scoreboard) -> Slot:
    """Return the slot of a worker with an event loop."""
    return scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)


def measuring(
    slot: Slot, *listeners: socket.socket, meter: Meter, clock_ns: Clock
) -> ReceivedWaits:
    """Return the waits of a worker with a loop."""
    waits = ReceivedWaits(slot, listeners, clock_ns=clock_ns)
    waits.follow(Beat(slot, meter, lambda delay_s, callback: None))
    return waits


def nothing(request: Any) -> Headers:
    """Return no headers."""
    return ()


def recorded(slot: Slot) -> list[int]:
    """Return the buckets of the recorded waits."""
    return [bucket for bucket in range(BUCKETS) for _ in range(slot.waits[bucket])]


def test_what_is_skipped(slot: Slot, tcp: Tcp) -> None:
    """Only behind a young, short measurement, and behind a poll that slept."""
    meter, clock_ns = Meter(), Clock()
    waits = measuring(slot, tcp.listener, meter=meter, clock_ns=clock_ns)

    def age_ms(sock: object) -> float:
        arrived_ns = waits.arrived_ns(sock)
        assert arrived_ns
        return (clock_ns() - arrived_ns) / 1e6

    def is_short() -> bool:
        tcp.client.sendall(b"a")
        return age_ms(tcp.accepted) <= TICK_MS

    wait_for("a short wait", is_short)
    unreadable = object()
    clock_ns.now_ns += FRESH_NS - 1
    assert age_ms(unreadable) <= TICK_MS
    meter.sleeps = False
    assert waits.arrived_ns(unreadable) == NOT_KNOWN_NS
    meter.sleeps = True
    clock_ns.now_ns += 1
    assert waits.arrived_ns(unreadable) == NOT_KNOWN_NS
    tcp.age()
    assert age_ms(tcp.accepted) >= OLD_MS
    assert waits.arrived_ns(unreadable) == NOT_KNOWN_NS  # behind a long one


def test_the_wait_until_the_app_starts(slot: Slot, tcp: Tcp) -> None:
    """The time since the bytes were read is added; the app gets its arguments."""
    clock_ns = Clock()
    waits = measuring(slot, tcp.listener, meter=Meter(), clock_ns=clock_ns)
    transport = SimpleNamespace(get_extra_info={"socket": tcp.accepted}.get)
    tcp.client.sendall(b"a")
    arrived_ns = waits.read_ns(transport)
    clock_ns.now_ns += 1_000_000_000
    assert waits.start(lambda *args: args, arrived_ns, nothing, "scope", 1, 2) == ("scope", 1, 2)
    (bucket,) = recorded(slot)
    assert bucket_of(1000 - TICK_MS) <= bucket <= bucket_of(1200)


@pytest.mark.parametrize("transport", [None, SimpleNamespace(get_extra_info=lambda name: None)])
def test_a_transport_without_a_socket(transport: Any, slot: Slot, tcp: Tcp) -> None:
    """Its request is served, and not recorded."""
    waits = ReceivedWaits(slot, [tcp.listener])
    arrived_ns = waits.read_ns(transport)
    assert arrived_ns == NOT_KNOWN_NS
    assert waits.start(str, arrived_ns, nothing, 1) == "1"
    assert recorded(slot) == []


def test_a_closed_socket(slot: Slot, tcp: Tcp) -> None:
    """Its request is not recorded, and nothing is raised."""
    waits = ReceivedWaits(slot, [tcp.listener])
    tcp.accepted.close()
    assert waits.arrived_ns(tcp.accepted) == NOT_KNOWN_NS


def test_a_unix_socket(scoreboard: Scoreboard, slot: Slot, tcp: Tcp) -> None:
    """The header counts on a Unix socket, and on no other; without a valid one, nothing."""
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_UNIX) as listener:
        waits = ReceivedWaits(slot, [listener, tcp.listener])
        start = [("x-request-start", f"t={time.time() - 100:.3f}")]
        assert waits.arrived_ns(one) is None
        for headers in (start, [("x-request-start", "soon")], [("host", "a")], 1):
            waits.start(str, waits.arrived_ns(one), lambda request: request, headers)
        assert recorded(slot) == [bucket_of(100_000)]
        waits.start(str, waits.arrived_ns(tcp.accepted), lambda request: request, start)
        assert len(recorded(slot)) == 2
        assert min(recorded(slot)) < bucket_of(10_000)


def test_whether_waits_are_measured(scoreboard: Scoreboard, slot: Slot, tcp: Tcp) -> None:
    """They are from ``begin`` on; never without a TCP listener."""

    def measures() -> int:
        (row,) = scoreboard.reader.read({os.getpid(): 1}).by_pid.values()
        return row.measures_wait

    with socket.socket(socket.AF_UNIX) as listener:
        ReceivedWaits(slot, [listener]).begin()
    assert not measures()
    waits = ReceivedWaits(slot, [tcp.listener])
    assert not measures()
    waits.begin()
    assert measures()


@pytest.mark.parametrize("protocol", [object, None, lambda **named: None])
def test_another_protocol_of_uvicorn(
    protocol: Any, scoreboard: Scoreboard, slot: Slot, tcp: Tcp
) -> None:
    """It stays as it is, and its waits are absent."""
    config = SimpleNamespace(http_protocol_class=protocol)
    measure_uvicorn(config, ReceivedWaits(slot, [tcp.listener]))
    assert config.http_protocol_class is protocol
    (row,) = scoreboard.reader.read({os.getpid(): 1}).by_pid.values()
    assert not row.measures_wait


class Polls:
    """An asyncio loop's polls, which take as long as the test requires."""

    def __init__(self, slot: Slot, watched: Collection[int] = ()) -> None:
        self.now_ns = time.monotonic_ns()
        self.timer = SelectTimer(slot.loop, watched, clock_ns=lambda: self.now_ns)

    def poll(self, takes_ns: int, timeout: float | None) -> None:
        """Poll once."""

        def select(timeout: float | None) -> None:
            self.now_ns += takes_ns

        self.timer.timed(select)(timeout)

    def sleeps(self, takes_ns: int, timeout: float | None) -> bool:
        """Poll once, and return whether a poll has slept since the mark."""
        self.poll(takes_ns, timeout)
        return self.timer.slept()


def test_polls_that_slept(slot: Slot) -> None:
    """A poll with timeout 0, or one that found events at once, has not slept."""
    polls = Polls(slot)
    assert not polls.timer.slept()
    assert [polls.sleeps(*each) for each in ((50_000, 0), (5_000, 1))] == [False, False]
    assert [polls.sleeps(*each) for each in ((50_000, None), (50_000, 0), (5_000, 1))] == [True] * 3
    assert polls.timer.mark(())
    assert not polls.timer.slept()


def test_polls_of_a_hub_that_slept(slot: Slot) -> None:
    """The latest poll counts, once: the one before may have slept while ``accept`` was paused."""
    now_ns = 0
    timer = PollTimer(slot.loop, clock_ns=lambda: now_ns)
    for takes_ns, slept in ((50_000, True), (5_000, False), (50_000, True)):
        timer.before_poll()
        now_ns += takes_ns
        timer.after_poll()
        assert timer.slept() == slept
        assert not timer.slept()


@pytest.mark.parametrize("is_watched", [True, False])
def test_what_permits_a_skip(is_watched: bool, slot: Slot, tcp: Tcp) -> None:
    """A poll that slept after the measurement, and that watched the listener.

    A poll before the measurement permits nothing. asyncio does not watch a listener for a second
    after ``accept`` failed for a lack of descriptors.
    """
    polls = Polls(slot, {tcp.listener.fileno()} if is_watched else ())
    waits = ReceivedWaits(slot, [tcp.listener], clock_ns=lambda: polls.now_ns)
    waits.follow(Beat(slot, polls.timer, lambda delay_s, callback: None))

    def is_short() -> bool:
        tcp.client.sendall(b"a")
        polls.sleeps(50_000, None)
        arrived_ns = waits.arrived_ns(tcp.accepted)
        assert arrived_ns
        return polls.now_ns - arrived_ns <= TICK_MS * 1_000_000

    wait_for("a short wait", is_short)
    unreadable = object()
    assert waits.arrived_ns(unreadable) == NOT_KNOWN_NS
    polls.poll(50_000, None)
    assert (waits.arrived_ns(unreadable) != NOT_KNOWN_NS) == is_watched


def test_listeners_of_asyncio(slot: Slot, tcp: Tcp) -> None:
    """The selector of a real loop watches the listener of its server, until asyncio pauses it."""

    async def watched() -> list[bool]:
        loop = asyncio.get_running_loop()
        beat = watch_asyncio(slot, lambda: loop)
        assert beat is not None
        server = await loop.create_server(asyncio.Protocol, sock=tcp.listener)
        listening = (tcp.listener.fileno(),)
        before = beat.meter.mark(listening)
        loop._remove_reader(tcp.listener.fileno())  # type: ignore[attr-defined]  # as asyncio does
        after = beat.meter.mark(listening)
        server.close()
        return [before, after]

    assert asyncio.run(watched()) == [True, False]


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_loops_that_slept(name: str, slot: Slot) -> None:
    """In a real loop: a timer sleeps, a ready callback does not.

    On a busy machine a timer may be due before the loop polls.
    """
    wait_for(
        "an undisturbed loop", lambda: slept_before_callbacks(name, slot) == [True, False, True]
    )


def slept_before_callbacks(name: str, slot: Slot) -> list[bool]:
    """Return whether a loop slept before a timer, a ready callback, and another timer."""
    if name == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    beat = watch_asyncio(slot, lambda: loop)
    assert beat is not None

    slept: list[bool] = []

    def look() -> None:
        slept.append(beat.meter.slept())
        beat.meter.mark(())
        if len(slept) == 1:
            loop.call_soon(look)
        elif len(slept) == 2:
            loop.call_later(0.01, look)
        else:
            loop.stop()

    loop.call_later(0.01, look)
    try:
        loop.run_forever()
    finally:
        loop.close()
    return slept
