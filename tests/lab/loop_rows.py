"""The event loop of a server's worker, as the shared memory has it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from gunicorn_backlog.cli.inspect.memory import Memory
from gunicorn_backlog.scoreboard.loop_row import LoopState
from gunicorn_backlog.scoreboard.worker_row import WorkerRow
from tests.lab.procfs import SCOREBOARD, descriptors
from tests.lab.server import Server
from tests.lab.waiting import wait_for

Slices = Sequence[Sequence[int]]  # begin and end of each piece of work, in ns
_AT_ONCE_NS = 1_000_000
_AGREE = 2.0


class Reading(NamedTuple):
    """The running time of a loop until a time, and the state that it is from."""

    until_ns: int
    ran_ns: int
    state: LoopState


class Window(NamedTuple):
    """The utilization between two readings, and the app's own share of work, in percent."""

    ours: float
    app: float
    readings: Sequence[Reading]

    @property
    def agree(self) -> bool:
        """Whether the two are within 2 points."""
        return abs(self.ours - self.app) <= _AGREE


@dataclass
class Loops:
    """Reads the loop rows of a server."""

    server: Server

    def __post_init__(self) -> None:
        links = descriptors(self.server.pid).items()
        fd = next(fd for fd, link in links if SCOREBOARD in link)
        self.memory = Memory(f"/proc/{self.server.pid}/fd/{fd}")

    def worker(self) -> WorkerRow:
        """Return the row of the only worker that lives."""
        pids = self.server.worker_pids()
        running = {it.pid: it.age for it in self.memory.reader.claimed() if it.pid in pids}
        (row,) = self.memory.reader.read(running).by_pid.values()
        return row

    def state(self) -> LoopState:
        """Return the state of the only worker's loop."""
        state = self.worker().loop
        assert state is not None
        return state

    def wait_for_meter(self, meter: int) -> None:
        """Wait until the loop is measured in that way."""
        wait_for("the loop's meter", lambda: self.state().meter == meter)

    def reading(self) -> Reading:
        """Return a reading of which the time is known to 1 ms."""
        while True:
            before_ns = time.monotonic_ns()
            state = self.state()
            if time.monotonic_ns() - before_ns < _AT_ONCE_NS:
                ran_ns, until_ns = state.running_time(before_ns)
                return Reading(until_ns, ran_ns, state)

    def readings_during(self, call: Callable[[], bytes]) -> tuple[bytes, list[Reading]]:
        """Return the result of a call, and readings while it runs."""
        with ThreadPoolExecutor(1) as pool:
            result, readings = pool.submit(call), [self.reading()]
            while not result.done():
                time.sleep(0.02)
                readings.append(self.reading())
        return result.result(), readings

    def duty(self, kind: str, percent: int, seconds: float = 1.0) -> Window:
        """Have the app work, and compare; the window leaves out begin and end of the request."""
        path = f"/duty/{kind}/{percent}/{seconds}"
        answer, readings = self.readings_during(lambda: self.server.get(path))
        slices: Slices = json.loads(answer)
        within = readings[len(readings) // 5 : -len(readings) // 8]
        return window(within, slices)

    def wait_until_they_agree(self, kind: str, percent: int) -> Window:
        """Return a window in which both agree: another process may preempt the loop in some."""
        seen: list[tuple[float, float]] = []

        def agreed() -> Window | None:
            found = self.duty(kind, percent)
            seen.append((round(found.ours, 1), round(found.app, 1)))
            return found if found.agree else None

        return wait_for(f"{kind} at {percent} % to agree: {seen}", agreed)

    def utilization(self, seconds: float = 1.0) -> float:
        """Return the utilization of the next second."""
        first = self.reading()
        time.sleep(seconds)
        last = self.reading()
        return 100 * (last.ran_ns - first.ran_ns) / (last.until_ns - first.until_ns)


def window(readings: Sequence[Reading], slices: Slices) -> Window:
    """Return the utilization between the first and the last reading, and the app's share."""
    begin_ns, end_ns = readings[0].until_ns, readings[-1].until_ns
    worked_ns = sum(max(0, min(end, end_ns) - max(begin, begin_ns)) for begin, end in slices)
    ran_ns = readings[-1].ran_ns - readings[0].ran_ns
    return Window(
        100 * ran_ns / (end_ns - begin_ns), 100 * worked_ns / (end_ns - begin_ns), readings
    )
