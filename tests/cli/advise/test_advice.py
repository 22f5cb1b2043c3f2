"""From measured numbers to advice, and the lines about it; on made measurements."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gunicorn_backlog.cli
from gunicorn_backlog.cli.advise.advice import Advice, advise
from gunicorn_backlog.cli.advise.measured import LoopUse, Measured, PoolUse, Shares, Waits
from gunicorn_backlog.cli.advise.model import Goal
from gunicorn_backlog.cli.advise.report import report
from gunicorn_backlog.cli.advise.text import text
from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

GOAL = Goal(100, 0.05)
SLEEPY = Measured(
    seconds=60.0,
    worker_class="sync",
    workers=4,
    threads=1,
    capacity=4,
    requests=2400,
    load=3.0,
    service_ms=75.0,
    variability=1.0,
    busy=0.75,
    queue=(0, 1),
    dropped=0,
    cpu_load=0.1,
    cpu_share=0.025,
    shares=Shares(0.03, 0.01, 0.96),
    cpus=2,
    waits=Waits(WaitSummary(2400, 38, 700, 200), 0.13),
    loops=None,
)
GTHREAD = SLEEPY._replace(worker_class="gthread", workers=2, threads=4, capacity=8)
GTHREAD = GTHREAD._replace(load=6.0, service_ms=150)
CPU = Shares(0.95, 0.05, 0.0)
LOOPS = SLEEPY._replace(worker_class="asgi", workers=2, threads=0, capacity=0, load=0.8, busy=0.4)
DELAYS = WaitSummary(1200, 1.5, 40, 4)


def lines(measured: Measured) -> tuple[Advice, str]:
    """Return the advice, and its text."""
    advice = advise(measured, GOAL)
    report(measured, advice)
    return advice, text(measured, advice, GOAL)


def test_workers_that_wait_for_something() -> None:
    """Sleeping workers are short: more of them help, and so do threads."""
    advice, shown = lines(SLEEPY)
    assert (advice.unit, advice.have, advice.bound) == ("workers", 4, "other")
    assert advice.needed_at == {1.0: 5, 1.5: 7, 2.0: 8}
    assert (advice.short, advice.lower_bound) == ("workers", False)
    assert advice.expected_longer == pytest.approx(0.134, abs=0.001)
    assert "\n  5 workers at the load of now\n  7 workers at 1.5 times the load\n" in shown
    assert "longer than 100 ms: 13.0 %; the model gives 13.4 %" in shown
    assert "\nWorkers are short: there are 4 workers. More workers help, or threads (gth" in shown
    assert "Assumed: requests arrive independently of each other (Poisson)" in shown


def test_enough() -> None:
    """With fewer requests nothing is short."""
    advice, shown = lines(SLEEPY._replace(load=1.0, busy=0.25))
    assert (advice.needed, advice.short) == (3, None)
    assert "\nThere are 4 workers: enough for the load of now.\n" in shown


def test_threads() -> None:
    """With gthread threads are short, and given as workers of as many threads, too."""
    advice, shown = lines(GTHREAD)
    assert (advice.unit, advice.have, advice.needed, advice.short) == ("threads", 8, 9, "threads")
    assert "\n  9 threads (3 workers of 4) at the load of now\n" in shown
    assert "\nThreads are short: there are 8 threads." in shown
    assert "a free thread of any worker takes the next request" in shown


def test_a_worker_that_is_starting() -> None:
    """Units and threads per worker do not depend on the number of workers at the end."""
    advice, shown = lines(SLEEPY._replace(workers=5))
    assert (advice.unit, advice.have, advice.short) == ("workers", 4, "workers")
    assert "\nWorkers are short: there are 4 workers." in shown
    for workers in (0, 3, 8):
        advice, shown = lines(GTHREAD._replace(workers=workers))
        assert (advice.unit, advice.have) == ("threads", 8)
        assert "\n  9 threads (3 workers of 4) at the load of now\n" in shown


def test_many_threads_and_a_small_load() -> None:
    """The model gives no longer waits, also where its probability is below the smallest float."""
    advice, shown = lines(GTHREAD._replace(threads=64, capacity=128, load=0.1, busy=0.1 / 128))
    assert (advice.needed, advice.expected_longer, advice.short) == (2, 0, None)
    assert "the model gives 0.0 %" in shown


def test_threads_that_share_a_lock() -> None:
    """Processes that use a CPU each, with more busy threads: more threads do not help."""
    locked = GTHREAD._replace(
        cpus=16, cpu_load=1.8, cpu_share=0.9, shares=Shares(0.3, 0.01, 0.69), busy=0.75
    )
    advice, shown = lines(locked)
    assert (advice.bound, advice.locked, advice.short) == ("cpu", True, "workers")
    assert advice.needed == 4 * advice.cpus_needed[1.0] == 12
    assert "\nWorkers are short: each used 90 % of a CPU, and its threads share one" in shown
    advice, shown = lines(locked._replace(cpus=2))
    assert advice.short == "CPUs"


def test_cpu_on_too_few_cpus() -> None:
    """CPU-bound workers that need more CPUs than there are: more workers do not help."""
    busy = SLEEPY._replace(load=1.8, busy=0.9, workers=2, capacity=2, service_ms=45)
    busy = busy._replace(cpu_load=1.75, shares=CPU)
    advice, shown = lines(busy)
    assert (advice.bound, advice.short) == ("cpu", "CPUs")
    assert advice.cpus_needed[1.0] == advice.needed == 3
    assert "CPUs are short: 2 may be used, and the work needs 3. More workers or threads" in shown
    advice, _ = lines(busy._replace(cpus=16))
    assert advice.short == "workers"


def test_a_kernel_that_does_not_account_waits() -> None:
    """CPUs are short only if the work is mostly CPU time, and needs more CPUs than there are."""
    busy = SLEEPY._replace(load=1.8, busy=0.9, workers=2, capacity=2, service_ms=45)
    busy = busy._replace(cpu_load=1.75, shares=None)
    advice, shown = lines(busy)
    assert (advice.bound, advice.short) == (None, "CPUs")
    assert "CPUs are short: 2 may be used, and the work needs 3. More workers or threads" in shown
    assert lines(busy._replace(cpus=16))[0].short == "workers"
    sleepy = SLEEPY._replace(load=18.5, busy=0.93, workers=20, capacity=20, service_ms=462)
    assert lines(sleepy._replace(cpu_load=1.6, shares=None))[0].short == "workers"


@pytest.mark.parametrize("measured", [SLEEPY, GTHREAD, GTHREAD._replace(load=1.0)])
def test_cpu_clocks_that_are_not_readable(measured: Measured) -> None:
    """The CPUs used and needed are absent, not 0; the number of workers is the same."""
    advice, shown = lines(measured._replace(cpu_load=None, cpu_share=None, shares=None))
    assert (advice.cpus_needed, advice.locked, advice.bound) == ({}, False, None)
    assert "\nCPUs         use unknown; 2 available\n" in shown
    readable = lines(measured)[0]
    assert (advice.needed_at, advice.short) == (readable.needed_at, readable.short)


def test_a_wait_for_cpus() -> None:
    """Workers that wait for a CPU need fewer, if there were enough CPUs."""
    waiting = SLEEPY._replace(cpu_load=0.7, shares=Shares(0.25, 0.6, 0.15))
    advice, shown = lines(waiting)
    assert (advice.bound, advice.short) == ("cpu_wait", "CPUs")
    assert advice.work is not None
    assert advice.work.load == pytest.approx(3.0 * 0.4)
    assert advice.needed == 2
    assert "\nWith enough CPUs, at most 5 % of the requests" in shown
    assert "with enough CPUs a request does not wait for one" in shown
    assert "the workers wait for CPUs that others use" in shown


def test_a_wait_for_cpus_of_few_requests() -> None:
    """CPUs are short only if the goal is missed: as measured, else by the model."""
    few = SLEEPY._replace(load=0.02, busy=0.005, service_ms=0.5, shares=Shares(0.3, 0.6, 0.1))
    few = few._replace(cpu_load=0.006, waits=Waits(WaitSummary(2400, 0, 3, 1), 0.0))
    advice, shown = lines(few)
    assert (advice.bound, advice.short) == ("cpu_wait", None)
    assert "\nThere are 4 workers: enough for the load of now.\n" in shown
    assert "\nWith enough CPUs, at most 5 % of the requests" in shown
    assert lines(few._replace(waits=None))[0].short is None
    assert lines(few._replace(waits=SLEEPY.waits))[0].short == "CPUs"
    assert lines(few._replace(dropped=1))[0].short == "CPUs"
    busy = few._replace(load=3.0, busy=0.75, service_ms=75)
    assert lines(busy)[0].short is None
    assert lines(busy._replace(waits=None))[0].short == "CPUs"  # the model gives 13 %
    assert lines(busy._replace(capacity=1))[0].short == "CPUs"


def test_an_overloaded_server() -> None:
    """The true load is not known: the numbers are lower bounds, with the queue's growth."""
    full = SLEEPY._replace(load=4.0, busy=1.0, service_ms=100, queue=(3, 1203))
    advice, shown = lines(full)
    assert advice.lower_bound
    assert advice.expected_longer is None
    assert advice.work is not None
    assert advice.work.load == pytest.approx(4.0 * (2400 + 1200) / 2400)
    assert "\n  at least 8 workers at the load of now\n" in shown
    assert "lower bounds" in shown
    assert lines(full._replace(queue=(3, 2)))[0].needed == 6
    assert lines(SLEEPY._replace(load=1.0, busy=0.25, dropped=1))[0].needed == 5


@pytest.mark.parametrize(
    ("loops", "changes", "short", "line"),
    [
        (LoopUse(DELAYS, {}), {}, None, "The event loops ran 40 % of the time: they have room."),
        (
            LoopUse(DELAYS, {}),
            {"busy": 0.9, "load": 1.8},
            "workers",
            "The event loops ran 90 % of the time: add workers, each has a loop of its own.",
        ),
        (
            LoopUse(DELAYS, {}),
            {"busy": 0.9, "load": 1.8, "shares": CPU, "cpu_load": 1.75},
            "CPUs",
            "The event loops ran 90 % of the time, and CPUs are short: add CPUs.",
        ),
        (
            LoopUse(None, {"anyio": PoolUse(0.5, 0.25, 80, 12, 80)}),
            {},
            "threads",
            "Pool anyio: calls waited for a thread in 25 % of the samples (at most 12): its "
            "threads are short, 80 of 80 busy.",
        ),
        (
            LoopUse(None, {"anyio": PoolUse(0.02, 0.05, 80, 12, 80)}),
            {},
            None,
            "Pool anyio: calls waited for a thread in 5 % of the samples (at most 12); at most "
            "80 of 80 threads were busy.",
        ),
        (
            LoopUse(None, {"anyio": PoolUse(0.001, 0.0004, 80, 1, 80)}),
            {},
            None,
            "Pool anyio: calls waited for a thread in less than 1 % of the samples (at most 1); "
            "at most 80 of 80 threads were busy.",
        ),
        (
            LoopUse(None, {"asgiref": PoolUse(0, 0, 3, 0, None)}),
            {},
            None,
            "Pool asgiref: no call waited; at most 3 threads were busy.",
        ),
    ],
)
def test_event_loops(
    loops: LoopUse, changes: dict[str, float], short: str | None, line: str
) -> None:
    """Event loops get advice on loops and pools, and no number of workers."""
    measured = LOOPS._replace(loops=loops, **changes)  # type: ignore[arg-type]  # of many types
    advice, shown = lines(measured)
    assert (advice.short, advice.needed, advice.needed_at) == (short, None, {})
    assert line in shown.splitlines()


def test_loops_that_are_not_measured() -> None:
    """Their load and utilization are absent, and only the pools get advice."""
    pools = {"anyio": PoolUse(0.5, 0.25, 80, 12, 80)}
    unmeasured = LOOPS._replace(load=None, service_ms=None, busy=None, shares=None)
    advice, shown = lines(unmeasured._replace(loops=LoopUse(None, {})))
    assert advice.short is None
    assert "\nThe running time of the event loops is not measured.\n" in shown
    assert not any(word in shown for word in ("Erlang", "room", "busy time"))
    unmeasured = unmeasured._replace(loops=LoopUse(None, pools))
    advice, shown = lines(unmeasured)
    assert advice.short == "threads"
    assert "\nPool anyio: calls waited for a thread in 25 % of the samples" in shown
    found = report(unmeasured, advice)
    assert (found["load"], found["loops"]["utilization"], found["bound"]) == (None, None, None)


def test_workers_that_are_not_measured() -> None:
    """Without their busy time there is no advice."""
    with pytest.raises(InspectError, match="the busy time of the workers could not be measured"):
        advise(SLEEPY._replace(load=None, service_ms=None, busy=None), GOAL)


def test_too_little_load() -> None:
    """An idle server gets the reason and no advice."""
    with pytest.raises(InspectError, match="too little load for advice: 29 requests in 60 s, 30"):
        advise(SLEEPY._replace(requests=29), GOAL)


def test_what_is_not_measured() -> None:
    """Without CPU times, waits and ages there is advice, with its assumption."""
    advice, shown = lines(SLEEPY._replace(shares=None, waits=None, variability=None))
    assert (advice.bound, advice.needed, advice.short) == (None, 5, "workers")
    assert "the service varies like an exponential distribution" in shown
    assert "they mostly wait" not in shown


def test_the_readme_documents_each_field() -> None:
    """The table in the command's README has each field of the JSON, in order, and no other."""
    readme = Path(gunicorn_backlog.cli.__file__).with_name("README.md").read_text()
    table = readme[readme.index("| field of `advise --json` |") :].partition("\n\n")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert list(report(SLEEPY, advise(SLEEPY, GOAL))) == documented
    loops = LOOPS._replace(loops=LoopUse(DELAYS, {}))
    assert list(report(loops, advise(loops, GOAL))) == documented


def test_the_readmes_example() -> None:
    """The example in the command's README is the text of a measurement above."""
    readme = Path(gunicorn_backlog.cli.__file__).with_name("README.md").read_text()
    assert f"\n```\n{lines(SLEEPY)[1]}\n```\n" in readme
