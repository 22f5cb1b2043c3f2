"""The cost that instrumentation adds to each request, in bytecode instructions and calls.

Both are the same in each run, unlike seconds: a longer hot path fails here on any machine.
``tests/benchmarks`` measures seconds.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.wait_histogram import EXACT_MS
from gunicorn_backlog.workers import last_wait, received_wait, tcp_wait
from gunicorn_backlog.workers.loops.poll_timer import SelectTimer
from gunicorn_backlog.workers.registry import Allocate
from tests.benchmarks import families
from tests.benchmarks.families import Request
from tests.lab.last_data import last_data_recv_ms
from tests.lab.waiting import wait_for

# The bounds are the maxima of Python 3.10, 3.11, 3.12 and 3.13, which differ by a fifth.
SPARE = 1.25
LONG_WAIT_INSTRUCTIONS = 27


class Cost(NamedTuple):
    """The cost of one request."""

    instructions: int
    calls: int  # of functions in Python, and in C


def cost_of(request: Callable[[], object], prepare: Callable[[], object]) -> Cost:
    """Return the cost after a few requests; ``prepare`` is called before each count.

    The lowest count: callbacks of a garbage collection are counted, too, and on a busy machine a
    short wait may become a long one.
    """

    def lowest(count: Callable[[Callable[[], object]], int]) -> int:
        counts = []
        for _ in range(20):
            prepare()
            counts.append(count(request))
        return min(counts)

    for _ in range(3):
        request()
    return Cost(lowest(instructions_of), lowest(calls_of))


if sys.version_info >= (3, 12):

    def instructions_of(request: Callable[[], object]) -> int:
        """Return the number of instructions of a call."""
        count = 0

        def counted(code: CodeType, offset: int) -> None:
            nonlocal count
            count += 1

        monitoring = sys.monitoring
        instruction = monitoring.events.INSTRUCTION
        monitoring.use_tool_id(monitoring.OPTIMIZER_ID, "hot path")
        monitoring.register_callback(monitoring.OPTIMIZER_ID, instruction, counted)
        monitoring.set_events(monitoring.OPTIMIZER_ID, instruction)
        try:
            request()
        finally:
            monitoring.set_events(monitoring.OPTIMIZER_ID, monitoring.events.NO_EVENTS)
            monitoring.free_tool_id(monitoring.OPTIMIZER_ID)
        return count

else:

    def instructions_of(request: Callable[[], object]) -> int:
        """Return the number of instructions of a call."""
        count = 0

        def counted(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal count
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            count += event == "opcode"
            return counted

        former = sys.gettrace()  # coverage's
        sys.settrace(counted)
        try:
            request()
        finally:
            sys.settrace(former)
        return count


def calls_of(request: Callable[[], object]) -> int:
    """Return the number of calls of functions in Python and in C."""
    count = 0

    def counted(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        request()
    finally:
        sys.setprofile(None)
    return count


SHORT_MS = 10  # far below EXACT_MS


class Connection(NamedTuple):
    """A listener, and both ends of a connection that it accepted."""

    listener: socket.socket
    accepted: socket.socket
    client: socket.socket

    def send(self) -> None:
        """Start the next request's wait now.

        Former bytes are read first: a full receive buffer would drop new ones. On a busy machine
        the kernel's own thread delivers the bytes some time later: then others are sent.
        """

        def has_sent() -> bool:
            with suppress(BlockingIOError):
                self.accepted.recv(65536, socket.MSG_DONTWAIT)
            self.client.sendall(b"x")
            return (last_data_recv_ms(self.accepted) or 0) < SHORT_MS

        wait_for("bytes that just arrived", has_sent)

    def wait(self) -> None:
        """Make the next request's wait longer than the histogram's exact buckets."""
        wait_for("a wait", lambda: (last_data_recv_ms(self.accepted) or 0) >= EXACT_MS)


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Return an accepted connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        yield Connection(listener, accepted, client)


class Waits(NamedTuple):
    """The cost of a request's wait."""

    measured: Cost
    skipped: Cost | None = None  # None: no measurement is skipped


SYNC_WAITS = Waits(Cost(76, 4), skipped=Cost(29, 0))
GTHREAD_WAITS = Waits(Cost(69, 4), skipped=Cost(21, 0))
GREENLET_WAITS = Waits(Cost(81, 5))
ASGI_WAITS = Waits(Cost(160, 9), skipped=Cost(124, 7))


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let each wait be measured, or from the first measurement on none."""

    def set_limits(*, skips: bool) -> None:
        monkeypatch.setattr(last_wait, "FRESH_NS", 1 << 62 if skips else 0)
        monkeypatch.setattr(tcp_wait, "TICK_MS", 1 << 32)
        monkeypatch.setattr(received_wait, "FRESH_NS", 1 << 62 if skips else 0)
        monkeypatch.setattr(received_wait, "TICK_MS", 1 << 32)

    return set_limits


@pytest.mark.parametrize(
    ("family", "counting", "waits"),
    [
        pytest.param(families.sync_request, Cost(85, 5), SYNC_WAITS, id="sync"),
        pytest.param(families.gthread_request, Cost(182, 14), GTHREAD_WAITS, id="gthread"),
        pytest.param(families.greenlet_request, Cost(118, 4), GREENLET_WAITS, id="gevent"),
        pytest.param(families.asgi_request, Cost(150, 7), ASGI_WAITS, id="asgi"),
        pytest.param(families.wsgi_request, Cost(205, 14), None, id="wsgi"),
    ],
)
def test_what_is_added_to_a_request(
    family: Callable[..., Request],
    counting: Cost,
    waits: Waits | None,
    connection: Connection,
    allow: Callable[..., None],
) -> None:
    """Begin and end, and the wait, measured and skipped; a wait of 32 ms takes two calls more."""

    def cost(
        claim: Allocate | None,
        *listeners: socket.socket,
        prepare: Callable[[], None] = connection.send,
    ) -> Cost:
        request = family(claim, *listeners)
        return cost_of(lambda: request(connection.accepted), prepare)

    bare, begin_and_end = cost(None), cost(families.claim())
    assert is_within(added(begin_and_end, bare), counting)
    if waits is None:
        return
    allow(skips=False)
    short = cost(families.claim(), connection.listener)
    assert is_within(added(short, begin_and_end), waits.measured)
    long = cost(families.claim(), connection.listener, prepare=connection.wait)
    assert added(long, short).calls == 2
    assert added(long, short).instructions <= SPARE * LONG_WAIT_INSTRUCTIONS
    if waits.skipped is not None:
        allow(skips=True)
        skipped = cost(families.claim(), connection.listener)
        assert is_within(added(skipped, begin_and_end), waits.skipped)


@pytest.mark.parametrize(
    ("timeout_s", "counted"), [(1.0, Cost(53, 3)), (0.0, Cost(15, 1))], ids=["blocks", "does not"]
)
def test_what_is_added_to_a_poll(timeout_s: float, counted: Cost) -> None:
    """An iteration of an asyncio loop reads the clock twice; a poll with timeout 0 never."""

    def select(timeout: float | None) -> None:
        pass

    slot = families.claim()(Kind.ASGI, 0)
    timed = SelectTimer(slot.loop).timed(select)
    bare = cost_of(lambda: select(timeout_s), lambda: None)
    assert is_within(added(cost_of(lambda: timed(timeout_s), lambda: None), bare), counted)


def added(cost: Cost, before: Cost) -> Cost:
    """Return the difference of two costs."""
    return Cost(cost.instructions - before.instructions, cost.calls - before.calls)


def is_within(cost: Cost, counted: Cost) -> bool:
    """Return whether a cost is near the bound: neither much more, nor less than half."""
    both = list(zip(cost, counted, strict=True))
    return all(now <= SPARE * then for now, then in both) and all(
        2 * now >= then for now, then in both
    )
