"""From a measurement to advice: pure functions."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from gunicorn_backlog.cli.advise.measured import LoopUse, Measured, PoolUse
from gunicorn_backlog.cli.advise.model import Goal, Work, needed, share_longer
from gunicorn_backlog.cli.errors import InspectError

Bound = Literal["cpu", "cpu_wait", "other"]
Short = Literal["workers", "threads", "CPUs"]

FACTORS = (1.0, 1.5, 2.0)
REQUESTS_MIN = 30
OVERLOADED = 0.98  # busy share from which the true load is unknown: a queue may grow for ever
ONE_LOCK = 0.7  # CPUs used by a process with threads from which its interpreter lock is short
MOSTLY = 0.5  # part of the busy time
EXPONENTIAL = 1.0  # variability, if it can't be measured


class Advice(NamedTuple):
    """What the server needs.

    unit: of ``have`` and ``needed``. work: without event loops. needed_at: by factor of the load;
    empty for event loops. cpus_needed: by factor; empty if not measured, and for event loops.
    lower_bound: the server is overloaded: it needs at least that many. expected_longer: share of
    requests (0 to 1) that wait longer than asked, by the model, now; None: overloaded, or event
    loops.
    bound: None: not measured. locked: threads wait for their process's interpreter lock.
    short: None: enough of everything for the load of now, or not measured.
    """

    unit: Literal["workers", "threads"]
    have: int
    work: Work | None
    needed_at: dict[float, int]
    cpus_needed: dict[float, int]
    lower_bound: bool
    expected_longer: float | None
    bound: Bound | None
    locked: bool
    short: Short | None

    @property
    def needed(self) -> int | None:
        """The number for the load of now."""
        return self.needed_at.get(1.0)


def advise(measured: Measured, goal: Goal) -> Advice:
    """Return the advice. Raises InspectError if there is too little load."""
    if measured.requests < REQUESTS_MIN:
        raise InspectError(
            f"too little load for advice: {measured.requests} requests in "
            f"{measured.seconds:.0f} s, {REQUESTS_MIN} are needed (--seconds measures longer)"
        )
    if measured.loops is not None:
        return _of_loops(measured, measured.loops, goal)
    return _of_workers(measured, goal)


def _of_workers(measured: Measured, goal: Goal) -> Advice:
    seen = _seen(measured)
    locked = _is_locked(measured, seen.load)
    bound: Bound | None = "cpu" if locked else _bound(measured)
    overloaded = measured.dropped > 0 or _is_at_least(measured.busy, OVERLOADED)
    work, cpu_work = _with_enough_cpus(seen, measured, bound), _cpu_work(measured)
    if overloaded:
        work = _arriving(measured, work)
    needed_at = _needed_at(work, goal)
    cpus = {} if cpu_work is None else _needed_at(cpu_work, goal)
    if locked:  # each worker serves one request's CPU part at a time
        needed_at = {f: max(needed_at[f], cpus[f] * measured.threads) for f in FACTORS}
    if overloaded and bound != "cpu_wait":
        needed_at = {f: max(needed_at[f], measured.capacity + 1) for f in FACTORS}
    expected = None if overloaded else share_longer(measured.capacity, seen, goal.wait_ms)
    advice = Advice(
        unit="workers" if measured.threads == 1 else "threads",
        have=measured.capacity,
        work=work,
        needed_at=needed_at,
        cpus_needed=cpus,
        lower_bound=overloaded,
        expected_longer=expected,
        bound=bound,
        locked=locked,
        short=None,
    )
    return advice._replace(short=_short(measured, advice, goal))


def _needed_at(work: Work, goal: Goal) -> dict[float, int]:
    return {factor: needed(work.times(factor), goal) for factor in FACTORS}


def _of_loops(measured: Measured, loops: LoopUse, goal: Goal) -> Advice:
    short: Short | None = None
    bound = _bound(measured)
    if _is_at_least(measured.busy, ONE_LOCK):
        short = "CPUs" if _cpus_are_short(measured, bound) else "workers"
    elif any(is_short(pool, goal) for pool in loops.pools.values()):
        short = "threads"
    return Advice(
        *("workers", measured.workers, None, {}, {}),
        lower_bound=False,
        expected_longer=None,
        bound=bound,
        locked=False,
        short=short,
    )


def is_short(pool: PoolUse, goal: Goal) -> bool:
    """Return whether calls waited for a thread of a pool in more samples than the goal allows."""
    return pool.queued > goal.share


def _is_at_least(value: float | None, least: float) -> bool:
    return value is not None and value >= least


def _bound(measured: Measured) -> Bound | None:
    if measured.shares is None:
        return None
    names: tuple[Bound, ...] = ("cpu", "cpu_wait", "other")
    return max(zip(measured.shares, names, strict=True))[1]


def _is_locked(measured: Measured, load: float) -> bool:
    """Return whether threads of a process wait for each other's interpreter lock.

    That wait is neither CPU time nor a wait for a CPU: a process uses one CPU while several of its
    threads are busy.
    """
    if measured.threads == 1 or measured.cpu_load is None:
        return False
    return _is_at_least(measured.cpu_share, ONE_LOCK) and load > measured.cpu_load * 1.2


def _seen(measured: Measured) -> Work:
    """Return the work as measured. Raises InspectError if it is not measured."""
    if measured.load is None or measured.service_ms is None:
        raise InspectError("the busy time of the workers could not be measured")
    return Work(measured.load, measured.service_ms, _spread(measured))


def _with_enough_cpus(seen: Work, measured: Measured, bound: Bound | None) -> Work:
    """Return the work; with too few CPUs without the wait for a CPU, as it would be with enough."""
    if bound != "cpu_wait" or measured.shares is None:
        return seen
    kept = 1 - measured.shares.cpu_wait
    return seen.times(kept)._replace(service_ms=seen.service_ms * kept)


def _cpu_work(measured: Measured) -> Work | None:
    """Return the CPU part of the work; None: not measured."""
    if measured.cpu_load is None:
        return None
    cpu_ms = measured.cpu_load * measured.seconds * 1e3 / measured.requests
    return Work(measured.cpu_load, cpu_ms, _spread(measured))


def _spread(measured: Measured) -> float:
    return EXPONENTIAL if measured.variability is None else measured.variability


def _arriving(measured: Measured, work: Work) -> Work:
    """Return the work with the connections by which the queue has grown."""
    grown = max(0, measured.queue[1] - measured.queue[0])
    return work.times((measured.requests + grown) / measured.requests)


def _cpus_are_short(measured: Measured, bound: Bound | None) -> bool:
    return bound == "cpu_wait" or _is_at_least(measured.cpu_load, ONE_LOCK * measured.cpus)


def _is_missed(measured: Measured, advice: Advice, goal: Goal) -> bool:
    """Return whether the server misses the goal now."""
    longer = advice.expected_longer if measured.waits is None else measured.waits.longer
    return advice.lower_bound or (longer is not None and longer > goal.share)


def _is_cpu(measured: Measured, advice: Advice) -> bool:
    """Return whether the work is mostly CPU time, also where waits for a CPU are not measured."""
    if advice.bound is None and advice.work is not None:
        return _is_at_least(measured.cpu_load, MOSTLY * advice.work.load)
    return advice.bound == "cpu"


def _short(measured: Measured, advice: Advice, goal: Goal) -> Short | None:
    """Return what is short for the load of now."""
    assert advice.needed is not None
    is_enough = advice.needed <= advice.have
    if advice.bound == "cpu_wait" and (not is_enough or _is_missed(measured, advice, goal)):
        return "CPUs"
    if is_enough:
        return None
    if _is_cpu(measured, advice) and advice.cpus_needed[1.0] > math.floor(measured.cpus):
        return "CPUs"
    if advice.locked or advice.unit == "workers":
        return "workers"
    return "threads"
