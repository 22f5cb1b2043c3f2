"""Advice as plain text."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_backlog.cli.advise.advice import Advice, Short, is_short
from gunicorn_backlog.cli.advise.measured import Measured, PoolUse
from gunicorn_backlog.cli.advise.model import Goal

_WORDS = {
    "cpu": "mostly CPU time",
    "cpu_wait": "mostly waiting for a CPU",
    "other": "mostly waiting for something else, as a database",
    None: "not measured",
}


def assumptions(measured: Measured, advice: Advice) -> Iterator[str]:
    """Yield what the numbers depend on."""
    if advice.work is None:
        yield "no number of workers is calculated for event loops: a loop serves many requests"
        return
    yield "requests arrive independently of each other (Poisson); bursts need more"
    yield "one queue, and the service of a request does not depend on the number of workers"
    if advice.unit == "threads":
        yield "a free thread of any worker takes the next request"
    if measured.variability is None:
        yield "the service varies like an exponential distribution: too few requests were seen"
    if advice.bound == "cpu_wait":
        yield "with enough CPUs a request does not wait for one"
    if advice.lower_bound:
        yield "the server is overloaded: the numbers are lower bounds; repeat with more"


def text(measured: Measured, advice: Advice, goal: Goal) -> str:
    """Return the text that ``advise`` prints."""
    lines = [
        f"{measured.requests} requests in {measured.seconds:.0f} s, {measured.worker_class}, "
        f"{_number(measured.workers, 'worker')}",
        "",
        *(f"{name:12} {value}" for name, value in _facts(measured, advice, goal)),
        "",
        *_verdict(measured, advice, goal),
        "",
        *(f"Assumed: {each}." for each in assumptions(measured, advice)),
    ]
    return "\n".join(lines)


def _facts(measured: Measured, advice: Advice, goal: Goal) -> Iterator[tuple[str, str]]:
    of = f"of {advice.have} {advice.unit}" if advice.work else f"of {advice.have} event loops"
    if measured.load is not None and measured.busy is not None:
        yield "load", f"{measured.load:.2f} Erlang {of} ({100 * measured.busy:.0f} %)"
    if advice.work is not None:
        spread = measured.variability
        varies = "" if spread is None else f", c² = {spread:.1f} ({_shape(spread)})"
        yield "service", f"{measured.service_ms:.1f} ms on average{varies}"
    if measured.waits is not None:
        summary = measured.waits.summary
        expected = advice.expected_longer
        model = "" if expected is None else f"; the model gives {100 * expected:.1f} %"
        yield "waits", f"average {summary.average_ms:.0f} ms, longest {summary.longest_ms:.0f} ms"
        longer = f"{100 * measured.waits.longer:.1f} %{model}"
        yield "", f"longer than {goal.wait_ms:g} ms: {longer}"
    if measured.loops is not None and measured.loops.delays is not None:
        delays = measured.loops.delays
        yield (
            "loop delay",
            f"average {delays.average_ms:.0f} ms, longest {delays.longest_ms:.0f} ms",
        )
    if measured.shares is not None:
        cpu, waiting, other = (100 * share for share in measured.shares)
        yield (
            "busy time",
            f"CPU {cpu:.0f} %, waiting for a CPU {waiting:.0f} %, else {other:.0f} %: "
            f"{_WORDS[advice.bound]}",
        )
    if measured.cpu_load is None:
        yield "CPUs", f"use unknown; {measured.cpus:g} available"
    else:
        yield "CPUs", f"{measured.cpu_load:.2f} used of {measured.cpus:g}"


def _shape(spread: float) -> str:
    if spread < 0.5:
        return "nearly constant"
    return "as exponential" if spread < 2 else "a few long requests"


def _verdict(measured: Measured, advice: Advice, goal: Goal) -> Iterator[str]:
    if advice.work is None:
        yield from _of_loops(measured, advice, goal)
        return
    goal_text = f"{100 * goal.share:g} % of the requests wait longer than {goal.wait_ms:g} ms with"
    yield (
        f"With enough CPUs, at most {goal_text}"
        if advice.short == "CPUs" or advice.bound == "cpu_wait"
        else f"At most {goal_text}"
    )
    least = "at least " if advice.lower_bound else ""
    for factor, number in advice.needed_at.items():
        yield f"  {least}{_units(number, measured, advice)} at {_load(factor)}"
    yield _short(measured, advice)


def _load(factor: float) -> str:
    return "the load of now" if factor == 1 else f"{factor:g} times the load"


def _units(number: int, measured: Measured, advice: Advice) -> str:
    if advice.unit == "workers":
        return _number(number, "worker")
    each = measured.threads
    return f"{_number(number, 'thread')} ({_number(-(-number // each), 'worker')} of {each})"


def _short(measured: Measured, advice: Advice) -> str:
    have = f"{advice.have} {advice.unit}"
    if advice.short is None:
        return f"There are {have}: enough for the load of now."
    if advice.short == "CPUs":
        wanted = advice.cpus_needed[1.0]
        return (
            f"CPUs are short: {measured.cpus:g} may be used, and the work needs {wanted}. More "
            "workers or threads do not help; they would wait for the same CPUs."
            if wanted > measured.cpus
            else f"CPUs are short: the workers wait for CPUs that others use, although the work "
            f"needs only {wanted}. More workers or threads do not help."
        )
    if advice.locked:
        assert measured.cpu_share is not None
        return (
            f"Workers are short: each used {100 * measured.cpu_share:.0f} % of a CPU, and its "
            "threads share one interpreter lock. More workers help, more threads do not."
        )
    if advice.short == "threads":
        return (
            f"Threads are short: there are {have}. More threads per worker help, or more workers."
        )
    more = ", or threads (gthread): they mostly wait" if advice.bound == "other" else ""
    return f"Workers are short: there are {have}. More workers help{more}."


def _of_loops(measured: Measured, advice: Advice, goal: Goal) -> Iterator[str]:
    """Yield the advice for event loops and their pools."""
    assert measured.loops is not None
    yield _loops(measured.busy, advice.short)
    for name, pool in measured.loops.pools.items():
        yield _pool(name, pool, goal)


def _loops(busy: float | None, short: Short | None) -> str:
    if busy is None:
        return "The running time of the event loops is not measured."
    ran = f"The event loops ran {100 * busy:.0f} % of the time"
    if short == "CPUs":
        return f"{ran}, and CPUs are short: add CPUs."
    if short == "workers":
        return f"{ran}: add workers, each has a loop of its own."
    return f"{ran}: they have room."


def _pool(name: str, pool: PoolUse, goal: Goal) -> str:
    busy = f"{pool.most_working}{'' if pool.capacity is None else f' of {pool.capacity}'}"
    if not pool.queued:
        return f"Pool {name}: no call waited; at most {busy} threads were busy."
    share = f"{100 * pool.queued:.0f}" if pool.queued >= 0.01 else "less than 1"
    waited = (
        f"Pool {name}: calls waited for a thread in {share} % of the samples "
        f"(at most {pool.most_queued})"
    )
    if is_short(pool, goal):
        return f"{waited}: its threads are short, {busy} busy."
    return f"{waited}; at most {busy} threads were busy."


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
