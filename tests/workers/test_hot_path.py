"""What watching adds to each request, in instructions of Python's bytecode and in calls.

Not in seconds, which differ from run to run: a change that makes a request's way much longer is
seen here, whatever the machine does. ``tests/benchmarks`` has the seconds.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

from gunicorn_backlog.workers.registry import Allocate
from tests.benchmarks import families
from tests.benchmarks.families import Request

# What is counted is the most of Python 3.10, 3.11, 3.12 and 3.13, which differ by a fifth.
SPARE = 1.25


class Cost(NamedTuple):
    """What a request takes."""

    instructions: int
    calls: int  # of functions in Python, and in C


def cost_of(request: Callable[[], object]) -> Cost:
    """Count, after the request has been made a few times."""
    for _ in range(3):
        request()
    return Cost(instructions_of(request), calls_of(request))


if sys.version_info >= (3, 12):

    def instructions_of(request: Callable[[], object]) -> int:
        """Count all instructions of a call."""
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
            monitoring.free_tool_id(monitoring.OPTIMIZER_ID)
        return count

else:

    def instructions_of(request: Callable[[], object]) -> int:
        """Count all instructions of a call."""
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
    """Count the functions that are called, in Python and in C."""
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


@pytest.fixture
def accepted() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return a listener and a connection that it accepted."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as sock,
    ):
        yield listener, sock


@pytest.mark.parametrize(
    ("family", "watched", "waiting"),
    [
        pytest.param(families.of_sync, Cost(63, 4), Cost(53, 2), id="sync"),
        pytest.param(families.of_gthread, Cost(140, 10), Cost(53, 2), id="gthread"),
        pytest.param(families.of_greenlet, Cost(76, 3), Cost(61, 3), id="gevent"),
        pytest.param(families.of_asgi, Cost(105, 5), None, id="asgi"),
        pytest.param(families.of_wsgi, Cost(154, 12), None, id="wsgi"),
    ],
)
def test_what_is_added_to_a_request(
    family: Callable[..., Request],
    watched: Cost,
    waiting: Cost | None,
    accepted: tuple[socket.socket, socket.socket],
) -> None:
    """By begin and end, and by the look at how long it waited."""

    def cost(claim: Allocate | None, *listeners: socket.socket) -> Cost:
        request = family(claim, *listeners)
        return cost_of(lambda: request(accepted[1]))

    bare, begin_and_end = cost(None), cost(families.claim())
    assert is_within(added(begin_and_end, bare), watched)
    if waiting is not None:
        all_of_it = cost(families.claim(), accepted[0])
        assert is_within(added(all_of_it, begin_and_end), waiting)


def added(cost: Cost, before: Cost) -> Cost:
    """Return what is added."""
    return Cost(cost.instructions - before.instructions, cost.calls - before.calls)


def is_within(cost: Cost, counted: Cost) -> bool:
    """Tell whether it is what was counted, or not much more; and not much less: then count anew."""
    both = list(zip(cost, counted, strict=True))
    return all(now <= SPARE * then for now, then in both) and all(
        2 * now > then for now, then in both
    )
