"""Event loops in this process: meters, beats, and unusual loops."""

from __future__ import annotations

import asyncio
import ctypes
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import LoopState, Meter
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.scoreboard.wait_histogram import BUCKETS, bucket_of
from gunicorn_backlog.workers import loops
from gunicorn_backlog.workers.loops import uvloop_loop
from gunicorn_backlog.workers.loops.beat import Beat, LoopMeter
from gunicorn_backlog.workers.loops.poll_timer import PollTimer, SelectTimer
from gunicorn_backlog.workers.loops.watch import watch_asyncio

uvloop = pytest.importorskip("uvloop")

AGE = 1
MS_NS = 1_000_000
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
each_loop = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@dataclass
class Board:
    """A scoreboard with one slot of this process."""

    scoreboard: Scoreboard = field(default_factory=lambda: Scoreboard(slots=2, thread_rows=8))

    def __post_init__(self) -> None:
        self.slot: Slot = self.scoreboard.claim(os.getpid(), AGE, Kind.ASGI, 0)

    def state(self) -> LoopState:
        """Return the loop's state."""
        state = self.scoreboard.reader.read({os.getpid(): AGE}).by_pid[os.getpid()].loop
        assert state is not None
        return state

    def delays(self) -> dict[int, int]:
        """Return the number of delays by bucket."""
        return {b: count for b, count in enumerate(self.scoreboard.reader.delays()) if count}

    def watch_running(self) -> Beat:
        """Watch the running loop."""
        beat = watch_asyncio(self.slot, asyncio.get_running_loop)
        assert beat is not None
        return beat

    async def until(self, condition: Callable[[LoopState], bool]) -> LoopState:
        """Wait until the state is as asked."""
        deadline_s = time.monotonic() + 20
        while not condition(self.state()):
            assert time.monotonic() < deadline_s, self.state()
            await asyncio.sleep(0.01)
        return self.state()


@pytest.fixture
def board() -> Board:
    """Return a scoreboard with a slot."""
    return Board()


def run(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine, and close the loop."""
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def share(first: LoopState, first_ns: int, last: LoopState, last_ns: int) -> float:
    """Return the share of the time that a loop ran between two states."""
    (ran_ns, until_ns), (ran_before_ns, since_ns) = (
        last.running_time(last_ns),
        first.running_time(first_ns),
    )
    return (ran_ns - ran_before_ns) / (until_ns - since_ns)


# The beat, with a clock of its own


class Timer:
    """A clock in ms, and a loop's ``call_later`` that keeps the one timer."""

    def __init__(self) -> None:
        self.now_ms = 1000
        self.delay_s = 0.0

    def clock_ns(self) -> int:
        """Return the time."""
        return self.now_ms * MS_NS

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Keep a timer."""
        self.delay_s, self.callback = delay_s, callback

    def beat(self, *, late_ms: int = 0) -> None:
        """Let the timer's time pass, and call the callback late."""
        self.now_ms += round(self.delay_s * 1000) + late_ms
        self.callback()


def beating(board: Board, timer: Timer) -> Beat:
    """Return a started beat."""
    beat = Beat(board.slot, LoopMeter(), timer.call_later, clock_ns=timer.clock_ns)
    beat.start()
    return beat


@pytest.mark.parametrize(
    ("late_ms", "delays_ms"),
    [
        (0, [0]),
        (99, [99]),
        (100, [100, 0]),
        (250, [250, 150, 50]),
        (1000, [*range(0, 1001, 100)]),
        (-1, [0]),
    ],
)
def test_a_late_beat_counts_for_the_beats_that_it_swallowed(
    late_ms: int, delays_ms: list[int], board: Board
) -> None:
    """A beat late by L counts L, L - 100, and so on down to 0."""
    timer = Timer()
    beating(board, timer)
    timer.beat(late_ms=700)  # the loop may not have run before the first beat
    timer.beat(late_ms=late_ms)
    counted = [count for count in board.delays().values() for _ in range(count)]
    assert len(counted) == len(delays_ms)
    assert set(board.delays()) == {bucket_of(delay_ms) for delay_ms in delays_ms}
    assert timer.delay_s == 0.1
    assert board.state().beat_ns == timer.clock_ns()


def test_a_beat_late_by_a_day(board: Board) -> None:
    """A stopped process counts ten minutes at most."""
    timer = Timer()
    beating(board, timer)
    timer.beat()
    timer.beat(late_ms=86_400_000)
    assert sum(board.delays().values()) == 6001
    assert max(board.delays()) == BUCKETS - 1


def test_a_stopped_loop_has_no_state(board: Board) -> None:
    """A stopped loop has neither meter nor beat; the time until it runs again is no delay."""
    timer = Timer()
    beat = beating(board, timer)
    timer.beat()
    beat.loop_stopped()
    assert board.state().beat_ns == 0
    assert board.state().late_ns(timer.clock_ns() + 10**12) == 0
    timer.beat(late_ms=5000)
    assert board.delays() == {}
    timer.beat(late_ms=3)
    assert board.delays() == {3: 1}


def test_callbacks_of_a_beat(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is removed and logged; the beat and the others go on."""
    timer = Timer()
    beat = beating(board, timer)
    called: list[str] = []

    def fail() -> None:
        called.append("fail")
        raise RuntimeError("a changed library")

    beat.callbacks += [fail, lambda: called.append("other")]
    for _ in range(3):
        timer.beat()
    assert called == ["fail", "other", "other", "other"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "a changed library" in caplog.text


def test_a_signal_handler_that_raises_in_a_beat(board: Board) -> None:
    """The handler's exception reaches the loop, and the next beat is scheduled."""
    timer = Timer()
    beat = beating(board, timer)

    def interrupted() -> None:
        raise KeyboardInterrupt

    beat.callbacks.append(interrupted)
    with pytest.raises(KeyboardInterrupt):
        timer.beat()
    assert timer.delay_s == 0.1
    beat.callbacks.clear()
    timer.beat()
    assert board.state().beat_ns == timer.clock_ns()


# The timer of polls


def test_a_poll_is_time_that_the_loop_does_not_run(board: Board) -> None:
    """Running time is all time but that of polls; a poll with timeout 0 is running time."""
    now_ns = 1000

    def select(timeout: float | None) -> str:
        nonlocal now_ns
        now_ns += 50
        seen.append(board.state().work_ns)
        return "events"

    seen: list[int] = []
    timer = SelectTimer(board.slot.loop, clock_ns=lambda: now_ns)
    timed = timer.timed(select)
    assert timer.measure(now_ns) is Meter.NONE
    now_ns += 7
    assert timed(None) == "events"  # blocked: 7 ns of work until then
    assert (seen, board.state().since_ns) == ([7], 1057)
    assert board.state().work_ns == 7 - 1057
    now_ns += 10
    assert timed(0) == "events"  # running: 7 + 10 + 50
    assert timed(-1) == "events"
    assert timed(0.1) == "events"
    assert seen[-1] == 7 + 10 + 50 + 50
    assert timer.measure(now_ns) is Meter.EXACT
    assert timer.measure(now_ns) is Meter.ABSENT


def test_a_poll_that_raises(board: Board) -> None:
    """After an exception in a poll the loop runs."""

    def select(timeout: float | None) -> None:
        raise KeyboardInterrupt

    timed = SelectTimer(board.slot.loop).timed(select)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            timed(1)
        assert board.state().work_ns < 0


def test_a_signal_handler_that_raises_after_a_poll(board: Board) -> None:
    """The time of the poll does not become running time."""
    now_ns = 0
    interrupts = [False, False, True, False]

    def clock_ns() -> int:
        if interrupts and interrupts.pop(0):
            raise KeyboardInterrupt
        return now_ns

    def select(timeout: float | None) -> None:
        nonlocal now_ns
        now_ns += 50

    timed = SelectTimer(board.slot.loop, clock_ns=clock_ns).timed(select)
    with pytest.raises(KeyboardInterrupt):
        timed(1)
    assert (board.state().work_ns, board.state().since_ns) == (-50, 50)


def test_polls_of_hubs(board: Board) -> None:
    """A begin without an end, and a second end, change nothing."""
    now_ns = 0
    timer = PollTimer(board.slot.loop, clock_ns=lambda: now_ns)
    now_ns = 10
    timer.before_poll()
    now_ns = 20
    timer.before_poll()
    assert board.state().work_ns == 10
    now_ns = 30
    timer.after_poll()
    now_ns = 35
    timer.after_poll()
    assert board.state().work_ns == 10 - 30
    assert timer.measure(now_ns) is Meter.EXACT


# Real loops


@each_loop
def test_a_loop_that_stops(new_loop: NewLoop, board: Board) -> None:
    """The first loop is measured; after its end a second loop writes nothing."""

    async def first() -> None:
        board.watch_running()
        await board.until(lambda it: it.measured)

    run(new_loop(), first())
    assert (board.state().meter, board.state().beat_ns) == (Meter.NONE, 0)
    before = board.state()

    async def second() -> None:
        await asyncio.sleep(0.15)

    run(new_loop(), second())
    assert board.state() == before


@each_loop
def test_a_loop_that_runs_again(new_loop: NewLoop, board: Board) -> None:
    """A loop that is stopped for a while counts no delay for it, and is measured again."""
    loop = new_loop()
    watch_asyncio(board.slot, lambda: loop)
    loop.run_until_complete(board.until(lambda it: it.measured))
    time.sleep(0.5)
    run(loop, board.until(lambda it: it.measured))  # type: ignore[arg-type]
    assert all(bucket < bucket_of(400) for bucket in board.delays())


@each_loop
def test_a_loop_in_a_thread(new_loop: NewLoop, board: Board) -> None:
    """A busy loop in another thread does not change the state of the watched one."""

    async def busy() -> None:
        for _ in range(20):
            time.sleep(0.02)
            await asyncio.sleep(0)

    async def main() -> None:
        board.watch_running()
        await board.until(lambda it: it.measured)
        first = board.state()
        begin_ns = time.monotonic_ns()
        await asyncio.get_running_loop().run_in_executor(None, lambda: run(new_loop(), busy()))
        await asyncio.sleep(0.2)
        last, now_ns = board.state(), time.monotonic_ns()
        assert share(first, begin_ns, last, now_ns) < 0.3

    run(new_loop(), main())


@each_loop
def test_a_child_of_the_worker(new_loop: NewLoop, board: Board) -> None:
    """After ``detach``, as in a child, the loop runs on and writes nothing."""

    async def main() -> None:
        board.watch_running()
        await board.until(lambda it: it.measured)
        board.scoreboard.detach()
        before = board.state(), board.delays()
        await asyncio.sleep(0.25)
        assert (board.state(), board.delays()) == before

    run(new_loop(), main())


def test_an_app_that_replaces_the_selector(board: Board) -> None:
    """The loop has no meter from the next beat on, and goes on beating."""

    async def main() -> None:
        board.watch_running()
        await board.until(lambda it: it.meter == Meter.EXACT)
        loop: Any = asyncio.get_running_loop()
        former, loop._selector = loop._selector, selectors.SelectSelector()
        for key in former.get_map().values():
            loop._selector.register(key.fileobj, key.events, key.data)
        state = await board.until(lambda it: it.meter == Meter.ABSENT)
        await board.until(lambda it: it.beat_ns > state.beat_ns)
        former.close()

    run(asyncio.new_event_loop(), main())


def test_an_app_that_wraps_the_selector(board: Board) -> None:
    """Polls through another wrapper are timed."""

    async def main() -> None:
        board.watch_running()
        await board.until(lambda it: it.meter == Meter.EXACT)
        selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        ours = selector.select
        selector.select = lambda timeout: ours(timeout)
        begin_ns, first = time.monotonic_ns(), board.state()
        await asyncio.sleep(0.5)
        last, now_ns = board.state(), time.monotonic_ns()
        assert last.meter == Meter.EXACT
        assert share(first, begin_ns, last, now_ns) < 0.3

    run(asyncio.new_event_loop(), main())


class SlottedSelector:
    """A selector on which no attribute can be set."""

    __slots__ = ("_selector",)

    def __init__(self) -> None:
        self._selector = selectors.SelectSelector()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def select(self, timeout: float | None = None) -> Any:
        """Select."""
        return self._selector.select(timeout)


def test_a_selector_without_attributes(board: Board) -> None:
    """The loop beats and has no meter."""

    async def main() -> None:
        board.watch_running()
        state = await board.until(lambda it: it.beat_ns != 0)
        assert state.meter == Meter.ABSENT

    selector: Any = SlottedSelector()
    run(asyncio.SelectorEventLoop(selector), main())


@pytest.mark.parametrize("name", ["uv_loop_configure", "uv_metrics_idle_time"])
def test_a_uvloop_without_symbols(name: str, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """A libuv that lacks a symbol: the loop beats and has no meter."""
    load = ctypes.PyDLL

    class Stripped:
        def __init__(self, path: str) -> None:
            self._library = load(path)

        def __getattr__(self, symbol: str) -> Any:
            if symbol == name:
                raise AttributeError(symbol)
            return getattr(self._library, symbol)

    monkeypatch.setattr(ctypes, "PyDLL", Stripped)

    async def main() -> None:
        board.watch_running()
        state = await board.until(lambda it: it.beat_ns != 0)
        assert state.meter == Meter.ABSENT

    run(uvloop.new_event_loop(), main())


@pytest.mark.parametrize("capsule", [None, 7, object()])
def test_a_uvloop_with_a_strange_capsule(
    capsule: object, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No capsule: the loop has no meter."""
    monkeypatch.setattr("uvloop.loop.libuv_get_loop_t_ptr", lambda loop: capsule)
    loop = uvloop.new_event_loop()
    assert uvloop_loop.read_idle_total(loop, board.slot.loop) is None
    loop.close()


@pytest.mark.parametrize("idle_ns", [999, 10**12])
def test_an_impossible_total_of_idle_time(idle_ns: int, board: Board) -> None:
    """A total that decreases, or grows faster than time, is no measurement."""
    totals = iter([1000, idle_ns, 1500])
    total = uvloop_loop.IdleTotal(board.slot.loop, lambda: next(totals))
    assert total.measure(10_000) is Meter.BEAT
    assert total.measure(20_000) is Meter.ABSENT
    assert total.measure(30_000) is Meter.BEAT
    assert board.state().work_ns == 20_000 - 500


def test_a_loop_that_is_not_there(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    """An error is logged and not raised."""
    assert watch_asyncio(board.slot, asyncio.get_running_loop) is None
    assert "watching the event loop failed" in caplog.text
    assert board.state().meter == Meter.ABSENT  # and not free


class LoopWithoutExecutors(asyncio.SelectorEventLoop):
    """A loop that does not show its executors."""

    @property
    def set_default_executor(self) -> Any:
        """Raise AttributeError."""
        raise AttributeError("no executors")


def test_a_loop_whose_executors_can_not_be_watched(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop has a beat and a running time, and the error is logged."""

    async def main() -> None:
        board.watch_running()
        await board.until(lambda it: it.measured)

    run(LoopWithoutExecutors(), main())
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "gunicorn_backlog: watching the executors failed"
    ]


def test_a_python_without_ctypes(
    board: Board, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uvloop has a beat there, and no running time."""
    monkeypatch.delattr(loops, "uvloop_loop")
    monkeypatch.delitem(sys.modules, uvloop_loop.__name__)
    monkeypatch.setitem(sys.modules, "ctypes", None)

    async def main() -> None:
        board.watch_running()
        state = await board.until(lambda it: it.beat_ns > 0)
        assert state.meter == Meter.ABSENT

    run(uvloop.new_event_loop(), main())
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "gunicorn_backlog: measuring the event loop failed"
    ]


SCRIPT = """
import asyncio, os, sys
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.workers.loops.watch import watch_asyncio

slot = Scoreboard(slots=2, thread_rows=8).claim(os.getpid(), 1, Kind.ASGI, 0)

async def main():
    watch_asyncio(slot, asyncio.get_running_loop)
    asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0.25)

if sys.argv[1] == "uvloop":
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.run(main())
loop = asyncio.new_event_loop()
watch_asyncio(slot, lambda: loop)
loop.close()
"""


@pytest.mark.parametrize("name", LOOPS)
def test_a_closed_loop_does_not_warn(name: str) -> None:
    """A loop that ends with a beat pending warns of nothing, in Python's development mode."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
