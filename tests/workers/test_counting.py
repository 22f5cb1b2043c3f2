"""workers.counting: what counted requests write, on a clock that the test sets."""

from __future__ import annotations

import os
import threading

import pytest

from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.slot import BEGUN, IN_FLIGHT, SINCE_NS, WORK_NS, Kind
from gunicorn_backlog.states import State
from gunicorn_backlog.workers.counting import InFlight, timed

RUNNING = {os.getpid(): 1}
THREADS = 4
REQUESTS = 5_000
MOST, LEAST = 2**63 - 1, -(2**63)


class Clock:
    """A clock that goes on by 100 ns with each look."""

    now_ns = 0

    def __call__(self) -> int:
        """Return the time."""
        self.now_ns += 100
        return self.now_ns


def seen(scoreboard: Scoreboard) -> State:
    """Return what a reader sees of this process."""
    return scoreboard.reader.read(RUNNING).rows()[os.getpid()]


def worked_ns(state: State, now_ns: int) -> int:
    """Return the time worked until now."""
    return state.worked_ns + state.timed * now_ns


def test_working_from_call_to_return() -> None:
    """In use within the call, not after it; the time between is worked, errors included."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    within: list[State] = []
    clock = Clock()

    def handle(*args: object) -> object:
        within.append(seen(scoreboard))
        if isinstance(args[0], BaseException):
            raise args[0]
        return args

    watched = timed(handle, slot, clock_ns=clock)
    assert watched(1, 2, 3) == (1, 2, 3)
    with pytest.raises(SystemExit):
        watched(SystemExit(1))

    assert [(state.in_use, state.begun) for state in within] == [(1, 1), (1, 2)]
    assert worked_ns(within[0], 150) == 50
    assert worked_ns(within[1], 350) == 100 + 50
    after = seen(scoreboard)
    assert (after.in_use, after.in_flight, after.begun) == (0, 0, 2)
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
    """Whatever is raised goes through, and is counted."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.GREENLET, 0)

    def fail() -> None:
        raise error

    with pytest.raises(error):
        InFlight(slot).counted(fail)()
    assert seen(scoreboard).in_flight == 0


@pytest.mark.parametrize(
    "amok",
    [{BEGUN: MOST}, {WORK_NS: MOST}, {WORK_NS: LEAST, SINCE_NS: LEAST}, {BEGUN: MOST, WORK_NS: -5}],
)
def test_a_record_that_another_wrote_begins_anew(amok: dict[int, int]) -> None:
    """Nothing can be added to it: the request is served, and the next one is counted from 0."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    within: list[State] = []

    def handle(*args: object) -> object:
        within.append(seen(scoreboard))
        return args

    watched = timed(handle, slot, clock_ns=Clock())
    for word, number in amok.items():
        slot.words[word] = number
    assert watched(1, 2) == (1, 2)
    after = seen(scoreboard)
    assert (after.in_use, after.begun) == (0, 0)
    assert 0 <= after.worked_ns <= 100
    assert watched(3) == (3,)
    assert (within[1].in_use, within[1].begun) == (1, 1)
    assert seen(scoreboard).worked_ns - after.worked_ns == 100


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
def test_an_error_goes_through_a_record_that_another_wrote(raised: type[BaseException]) -> None:
    """Also one of the kind by which it is known that nothing can be added."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    slot.words[WORK_NS] = MOST

    def fail() -> None:
        raise raised("of the app")

    with pytest.raises(raised, match="of the app"):
        timed(fail, slot, clock_ns=Clock())()
    assert slot.words.tolist()[:3] == [0, 0, 0]


@pytest.mark.parametrize("word", [IN_FLIGHT, BEGUN])
def test_requests_in_flight_beside_one_that_ran_amok(word: int) -> None:
    """All are served; never are there fewer than none, and with the last of them it is right."""
    scoreboard = Scoreboard(slots=1)
    slot = scoreboard.claim(os.getpid(), 1, Kind.GREENLET, 0)
    requests = InFlight(slot)
    requests.begin()
    slot.words[word] = MOST
    served = requests.counted(lambda: seen(scoreboard))
    assert served().in_flight == 0
    requests.end()
    assert slot.words.tolist() == [0, 0, 0, 0]
    state = served()
    assert (state.in_flight, state.begun) == (1, 1)
    assert seen(scoreboard).in_flight == 0
