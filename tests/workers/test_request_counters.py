"""request_counters: the words that counted requests write, on the test's clock."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import BEGUN, IN_FLIGHT, SINCE_NS, TAKEN, WORK_NS
from gunicorn_backlog.scoreboard.worker_row import WorkerRow
from gunicorn_backlog.workers.in_flight import InFlight
from gunicorn_backlog.workers.last_wait import LastWait
from gunicorn_backlog.workers.request_counters import track_busy, track_busy_threads

RUNNING = {os.getpid(): 1}
THREADS = 4
REQUESTS = 5_000
MOST, LEAST = 2**63 - 1, -(2**63)


class Clock:
    """A clock that advances by 100 ns at each reading."""

    now_ns = 0

    def __call__(self) -> int:
        """Return the time."""
        self.now_ns += 100
        return self.now_ns


def seen(scoreboard: Scoreboard) -> WorkerRow:
    """Return this process's row, as a reader has it."""
    return scoreboard.reader.read(RUNNING).by_pid[os.getpid()]


def worked_ns(state: WorkerRow, now_ns: int) -> int:
    """Return the time worked until now."""
    return state.worked_ns + state.timed_busy * now_ns


def test_working_from_call_to_return() -> None:
    """A worker is busy within the call, not after it, also if the call raises."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    within: list[WorkerRow] = []
    clock = Clock()

    def handle(*args: object) -> object:
        within.append(seen(scoreboard))
        if isinstance(args[0], BaseException):
            raise args[0]
        return args

    timed = track_busy_threads(handle, [slot], LastWait(skips=False), beyond=handle, clock_ns=clock)
    assert timed(1, 2, 3) == (1, 2, 3)
    with pytest.raises(SystemExit):
        timed(SystemExit(1))

    assert [(state.busy, state.begun) for state in within] == [(1, 0), (1, 0)]
    assert slot.words[TAKEN] == 2
    assert worked_ns(within[0], 150) == 50
    assert worked_ns(within[1], 350) == 100 + 50
    after = seen(scoreboard)
    assert (after.busy, after.in_flight, after.begun) == (0, 0, 0)  # no request was read
    assert worked_ns(after, 1000) == 200


def test_requests_of_many_threads() -> None:
    """Begins and ends of threads at the same time are all counted."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.WSGI, 0)
    request = InFlight(slot).counted(lambda: None)

    def requests() -> None:
        for _ in range(REQUESTS):
            request()

    threads = [threading.Thread(target=requests) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = seen(scoreboard)
    assert (state.begun, state.in_flight) == (THREADS * REQUESTS, 0)


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit])
def test_a_request_that_fails_has_ended(error: type[BaseException]) -> None:
    """An error of the request is raised, and the request has ended."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.GREENLET, 0)

    def fail() -> None:
        raise error

    with pytest.raises(error):
        InFlight(slot).counted(fail)()
    assert seen(scoreboard).in_flight == 0


@pytest.mark.parametrize(
    "amok",
    [{TAKEN: MOST}, {WORK_NS: MOST}, {WORK_NS: LEAST, SINCE_NS: LEAST}, {TAKEN: MOST, WORK_NS: -5}],
)
def test_a_record_that_another_wrote_is_right_again(amok: dict[int, int]) -> None:
    """The next request restores the owner's numbers; nothing is raised."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    within: list[WorkerRow] = []

    def handle(*args: object) -> object:
        within.append(seen(scoreboard))
        return args

    last_wait = LastWait(skips=False)
    timed = track_busy_threads(handle, [slot], last_wait, beyond=handle, clock_ns=Clock())
    assert timed(0) == (0,)
    for word, number in amok.items():
        slot.words[word] = number
    assert timed(1, 2) == (1, 2)
    after = seen(scoreboard)
    assert (after.busy, after.worked_ns, slot.words[TAKEN]) == (0, 200, 2)
    assert within[1].busy == 1


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
def test_an_error_goes_through_a_record_that_another_wrote(raised: type[BaseException]) -> None:
    """The app's error is raised, whatever the record has."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    slot.words[WORK_NS] = MOST

    def fail() -> None:
        raise raised("of the app")

    with pytest.raises(raised, match="of the app"):
        track_busy(fail, slot, LastWait(skips=False), clock_ns=Clock())()
    assert slot.words.tolist() == [100, 0, 0, 0]


@pytest.mark.parametrize("word", [IN_FLIGHT, BEGUN])
def test_requests_in_flight_that_another_overwrote(word: int) -> None:
    """All requests are served, and the next begin restores the number."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.GREENLET, 0)
    requests = InFlight(slot)
    number = requests.begin()
    slot.words[word] = MOST
    served = requests.counted(lambda: seen(scoreboard))
    state = served()
    assert (state.in_flight, state.begun) == (2, 2)
    requests.end(number)
    state = served()
    assert (state.in_flight, state.begun) == (1, 3)
    assert seen(scoreboard).in_flight == 0


def test_the_oldest_request_of_many() -> None:
    """Whichever ends first, the slot has the start of the oldest that is left; 0: none is left."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    requests = InFlight(slot, clock_ns=Clock())
    first, second, third = (requests.begin() for _ in range(3))
    starts = [slot.words[SINCE_NS]]
    for number in (second, first, third):
        requests.end(number)
        starts.append(slot.words[SINCE_NS])
    assert starts == [100, 100, 300, 0]
    assert seen(scoreboard).oldest_ns is None
    requests.counted(lambda: starts.append(slot.words[SINCE_NS]))()
    assert (starts[-1], slot.words[SINCE_NS]) == (400, 0)


def test_a_websocket_is_never_the_oldest() -> None:
    """A call without age counts as in flight, and leaves the oldest request as it is."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    requests = InFlight(slot, clock_ns=Clock())
    rows: list[WorkerRow] = []

    async def call() -> None:
        rows.append(seen(scoreboard))

    async def both() -> None:
        await requests.counted_async(call, ages=False)()
        await requests.counted_async(call)()

    asyncio.run(both())
    assert [(row.in_flight, row.oldest_ns) for row in rows] == [(1, None), (1, 200)]
    assert slot.words.tolist() == [0, 0, 0, 2]
