"""worker_counts: workers by state."""

from __future__ import annotations

from typing import Any

import pytest

from gunicorn_backlog.sampling.worker_counts import ThreadCounts, WorkerCounter, WorkerCounts
from gunicorn_backlog.scoreboard.kind import HAS_LOOP, Kind
from gunicorn_backlog.scoreboard.loop_row import LoopState, Meter, PoolState
from gunicorn_backlog.scoreboard.worker_row import WorkerRow
from tests.lab.worker_rows import worker_rows

BOOT_LIMIT_S = 30.0


def state(in_use: int = 0, kind: Kind = Kind.SYNC) -> WorkerRow:
    """Return a worker's state."""
    loop = LoopState(0, 0, 1, Meter.EXACT) if kind in HAS_LOOP else None
    capacity = int(kind == Kind.SYNC)
    return WorkerRow(kind, False, capacity, 0, in_use, in_use, 0, 0, 0, 0, None, 0, loop)


def loop(meter: Meter = Meter.EXACT, *pools: tuple[str, PoolState]) -> WorkerRow:
    """Return the state of an asgi worker."""
    row = state(kind=Kind.ASGI)
    row.loop = LoopState(0, 0, 1, meter, pools)
    return row


def pool(capacity: int, in_use: int, in_flight: int, queued: int) -> WorkerRow:
    """Return the state of a gthread worker."""
    return WorkerRow(Kind.GTHREAD, False, capacity, 0, in_use, in_flight, queued, 0, 0, 0)


def aged(*pids: int) -> dict[int, int]:
    """Return running workers, each with the age of its pid."""
    return {pid: pid for pid in pids}


def count(
    running: dict[int, int],
    rows: dict[int, WorkerRow],
    *,
    counter: WorkerCounter | None = None,
    **how: Any,
) -> WorkerCounts:
    """Return the counts of rows by pid, by this counter or a new one."""
    return (counter or WorkerCounter()).count(
        running, worker_rows(rows, running), BOOT_LIMIT_S, **how
    )


def test_every_worker_has_one_state() -> None:
    """Busy: working; not busy: idle; no slot: starting."""
    counts = count(aged(1, 2, 3, 4), {1: state(1), 2: state(), 3: state()})
    assert counts == WorkerCounts(idle=2, working=1, starting=1, unknown=0, in_flight=1)
    assert counts.total == 4


@pytest.mark.parametrize("kind", [Kind.UNKNOWN, Kind.FAILED])
def test_of_an_unknown_class_there_is_no_state(kind: Kind) -> None:
    """A worker of an unknown class counts as unknown, and requests in flight are not known."""
    counts = count(aged(1, 2), {1: state(1), 2: state(kind=kind)})
    assert counts == WorkerCounts(idle=0, working=1, starting=0, unknown=1, in_flight=None)


def test_a_worker_without_a_slot_after_the_boot_is_unknown() -> None:
    """A worker is starting until the limit; a later worker has its own limit."""
    now_s = 100.0
    counter = WorkerCounter(clock=lambda: now_s)
    assert count(aged(1), {}, counter=counter) == WorkerCounts(0, 0, 1, 0, 0)
    now_s += BOOT_LIMIT_S + 1
    assert count(aged(1, 2), {}, counter=counter) == WorkerCounts(0, 0, 1, 1, None)
    assert counter.overdue == 1
    assert count(aged(1, 2), {1: state()}, counter=counter) == WorkerCounts(1, 0, 1, 0, 0)
    assert counter.overdue == 0


def test_a_worker_forked_before_the_sampling_is_unknown() -> None:
    """An earlier worker without a slot may be busy: its state is unknown, not starting."""
    counts = count(aged(1, 2, 3), {1: state(1)}, watched_after=2)
    assert counts == WorkerCounts(idle=0, working=1, starting=1, unknown=1, in_flight=None)


def test_threads_of_all_pools() -> None:
    """Idle, working and queued threads add up; a working worker may have a free thread."""
    counts = count(aged(1, 2), {1: pool(4, 2, 1, 0), 2: pool(4, 4, 4, 7)})
    assert (counts.working, counts.idle, counts.in_flight) == (2, 0, 5)
    assert counts.threads == {"gthread": ThreadCounts(idle=2, working=6, queued=7)}


def test_without_pools_there_are_no_threads_but_those_to_come() -> None:
    """A class without pools has none; starting gthread workers have zeros."""
    assert count(aged(1), {1: state()}).threads == {}
    starting = count(aged(1), {}, kind_starting=Kind.GTHREAD)
    assert starting.threads == {"gthread": ThreadCounts(0, 0, 0)}


def test_pools_behind_loops() -> None:
    """Counts add up by pool; without a fixed number of threads no idle thread is counted."""
    anyio, django = ("anyio", PoolState(40, 20, 40)), ("asgiref", PoolState(3, 1, None))
    rows = {1: loop(Meter.EXACT, anyio), 2: loop(Meter.EXACT, anyio, django), 3: loop()}
    assert count(aged(1, 2, 3), rows).threads == {
        "anyio": ThreadCounts(idle=0, working=80, queued=40),
        "asgiref": ThreadCounts(idle=None, working=3, queued=1),
    }
    assert count(aged(3), {3: loop()}).threads == {}


@pytest.mark.parametrize(
    ("states", "kind", "saturated"),
    [
        ({1: state(1), 2: state(1)}, Kind.SYNC, True),
        ({1: state(1), 2: state(0)}, Kind.SYNC, False),
        ({1: state(1)}, Kind.SYNC, True),  # the other is starting, and not free either
        ({}, Kind.SYNC, True),
        ({1: pool(2, 2, 2, 0), 2: pool(2, 1, 1, 0)}, Kind.GTHREAD, False),
        ({1: pool(2, 2, 2, 0), 2: pool(2, 2, 2, 0)}, Kind.GTHREAD, True),
        ({1: state(1), 2: state(1, Kind.GREENLET)}, Kind.SYNC, False),
        ({1: state(1), 3: state(1, Kind.GREENLET)}, Kind.SYNC, True),
        ({3: loop(), 4: loop()}, Kind.ASGI, True),
        ({3: loop(), 2: loop()}, Kind.ASGI, False),
        ({3: loop(), 4: loop(Meter.NONE)}, Kind.ASGI, True),
        ({3: loop(), 2: loop(Meter.ABSENT)}, Kind.ASGI, None),
        ({1: state(1), 2: state(0, Kind.UNKNOWN)}, Kind.SYNC, None),
        ({}, Kind.UNKNOWN, None),
    ],
)
def test_saturated_is_no_worker_free(
    states: dict[int, WorkerRow], kind: Kind, saturated: bool | None
) -> None:
    """A loop that ran most of the time is not free; a loop without a meter leaves it unknown."""
    counts = count(aged(*states, 9), states, kind_starting=kind, full_loops={3, 4})
    assert counts.saturated is saturated


def test_a_worker_whose_heartbeat_moves_serves_without_a_slot() -> None:
    """Two samples in a row are required: between two reads a worker may claim its slot."""
    counter = WorkerCounter()
    for beats, serving in (({1: 5.0}, 0), ({1: 5.0}, 0), ({1: 6.0}, 0), ({1: 6.0}, 1)):
        counts = count(aged(1, 2), {2: state()}, counter=counter, heartbeats=beats)
        assert (counter.serving, counter.overdue) == (serving, serving)
        assert (counts.starting, counts.unknown) == (1 - serving, serving)
    count(aged(1, 2), {1: state(), 2: state()}, counter=counter)
    assert (counter.serving, counter.overdue) == (0, 0)
