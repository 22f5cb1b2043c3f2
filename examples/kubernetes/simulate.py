"""Simulate a day of load on a fleet, scaled by CPU alone, and by utilization and backlog.

    python examples/kubernetes/simulate.py                    # the tables of the README
    python examples/kubernetes/simulate.py --plot day.svg     # and a picture; needs matplotlib
    python examples/kubernetes/simulate.py --seed 2           # another day
    python examples/kubernetes/simulate.py --workers 16 --load 4    # larger pods, for more requests

The model has a queue for each pod, and no cluster; the delays are those of hpa.yaml.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import erlang
import hpa
from day import DAY_S, App, Request, requests
from fleet import Fleet, LoopPod, Pod
from signals import Cpu, InFlight, Ours, Signal

WORKERS = 4  # of a pod, by default
OBJECTIVE_S = 1.0  # longest wait that is not late
LATE_SHARE = 0.05  # a minute is over the objective if a larger share of its requests is late
POD_START_S = 30.0
LEAST, MOST = 2, 40  # pods
GROWTH_S = 90  # hpa.yaml: at most twice the pods, or 4 more, in that time

WAITING = App("waits on the network", 1.0, 0.1, slow=(15 * 3600.0, 16 * 3600.0))
STEADY = App("works on a processor", 1.0, 1.0)
# An event loop: a request occupies the loop for 0.1 s, 60 % of it computes, and awaits 1 s.
LOOPS = App(
    "runs in event loops",
    0.1,
    0.6,
    slow=(15 * 3600.0, 16 * 3600.0),
    awaits_s=1.0,
    slow_awaits=(10 * 3600.0, 11 * 3600.0),
)
LOOP_WORKERS = 1  # of a pod
LOOP_LOAD = 2.5  # times the requests of the other apps
OUR_UP = hpa.Rules(0, (hpa.Policy("Percent", 100, GROWTH_S), hpa.Policy("Pods", 4, GROWTH_S)))


class Case(NamedTuple):
    """One simulation: an app, and a signal with a target in percent."""

    app: App
    name: str
    target: int
    signal: Signal
    workers: int = WORKERS
    up: hpa.Rules = hpa.UP
    pods: type[Pod] = Pod


class Result(NamedTuple):
    """The result of one simulation.

    ``minutes_over``: the objective; ``slow_over``: those in the app's slow hour. ``late``: late
    requests in percent. ``replicas`` and ``over``: one value per minute.
    """

    case: Case
    minutes_over: int
    slow_over: int
    late: float
    pod_hours: float
    most_pods: int
    replicas: list[int]  # at the end of each minute
    over: list[bool]  # of each minute


def cases(workers: int = WORKERS) -> list[Case]:
    """Return the README's cases, with new signals at each call."""
    used = workers * WAITING.cpu_share  # cores of a busy pod
    tuned = f"CPU, {100 * used:.0f} % of a core requested"
    found = [cpu(WAITING, "CPU, 1 core requested", 50, 1.0, workers)]
    found += [cpu(WAITING, tuned, target, used, workers) for target in (50, 60, 70)]
    found += [ours(WAITING, target, workers, with_backlog=False) for target in (50, 70)]
    found += [ours(WAITING, target, workers) for target in (40, 50, 60, 70, 80)]
    cores = f"CPU, {workers} cores requested"
    found += [cpu(STEADY, cores, target, workers, workers) for target in (50, 60, 70)]
    return found + [ours(STEADY, target, workers) for target in (50, 60, 70)]


def cpu(app: App, name: str, target: int, request_cores: float, workers: int = WORKERS) -> Case:
    """Return a case with an HPA on CPU."""
    return Case(app, name, target, Cpu(app, request_cores, target), workers)


def ours(app: App, target: int, workers: int = WORKERS, *, with_backlog: bool = True) -> Case:
    """Return a case with the signals of ``hpa.yaml``; ``target`` in percent."""
    if not with_backlog:
        return Case(app, "utilization", target, Ours(target, None), workers, OUR_UP)
    signal = Ours(target, backlog_target(app, workers))
    return Case(app, "utilization and backlog", target, signal, workers, OUR_UP)


def loop_cases() -> list[Case]:
    """Return the README's cases of event loops, with new signals at each call."""
    found = []
    for target in (50, 60, 70):
        found.append(_loops("loop utilization", target, Ours(target, None), OUR_UP))
    for target in (50, 60, 70):
        name = "CPU, 60 % of a core requested"
        found.append(_loops(name, target, Cpu(LOOPS, LOOPS.cpu_share, target), hpa.UP))
    for target in (50, 60, 70):
        signal = InFlight(in_flight_target(LOOPS, target))
        found.append(_loops("requests in flight", target, signal, OUR_UP))
    return found


def _loops(name: str, target: int, signal: Signal, up: hpa.Rules) -> Case:
    return Case(LOOPS, name, target, signal, LOOP_WORKERS, up, LoopPod)


def in_flight_target(app: App, utilization: float) -> float:
    """Return the requests in flight of a pod whose loops are busy for this share, in percent."""
    per_s = utilization / 100 * LOOP_WORKERS / app.service_s
    return per_s * (app.awaits_s + app.service_s / (1 - utilization / 100))


def backlog_target(app: App, workers: int) -> float:
    """Return the backlog's target per pod: the requests that a pod begins in OBJECTIVE_S."""
    return workers * OBJECTIVE_S / app.service_s


def simulate(case: Case, day: Sequence[Request], *, lasts_s: int = DAY_S) -> Result:
    """Simulate ``lasts_s`` seconds of the day, and return the result."""
    fleet = Fleet(
        case.app,
        day,
        4,
        workers=case.workers,
        start_s=POD_START_S,
        objective_s=OBJECTIVE_S,
        kind=case.pods,
    )
    scaler = hpa.Autoscaler(LEAST, MOST, up=case.up)
    replicas = []
    for now_s in range(1, lasts_s + 1):
        fleet.serve(now_s)
        case.signal.look(now_s, fleet)
        # The clocks of controller and metrics are not synchronized: hence the offset of 5 s.
        if now_s % hpa.SYNC_S == 5 and (proposals := case.signal.propose(now_s, fleet)):
            fleet.scale(scaler.sync(now_s, proposals, len(fleet.pods)), now_s)
        if now_s % 60 == 0:
            replicas.append(len(fleet.pods))
    return _result(case, fleet, replicas, lasts_s)


def _result(case: Case, fleet: Fleet, replicas: list[int], lasts_s: int) -> Result:
    over = [minute.late > LATE_SHARE * minute.asked for minute in fleet.minutes]
    late = sum(minute.late for minute in fleet.minutes)
    share = 100 * late / sum(minute.asked for minute in fleet.minutes)
    slow_over = [bad for minute, bad in enumerate(over) if case.app.slowness(60 * minute) > 1]
    hours, most = fleet.pod_hours(lasts_s), max(replicas)
    return Result(case, sum(over), sum(slow_over), share, hours, most, replicas, over)


HEADINGS = ("scaled by", "target", "minutes over", "in the slow hour", "late requests", "pod-hours")


def table(results: Iterable[Result]) -> str:
    """Return the README's table of one app, as Markdown."""
    lines = [list(HEADINGS), ["---"] * len(HEADINGS)]
    for result in results:
        slow = str(result.slow_over) if result.case.app.slow[1] else ""
        cells = [result.case.name, f"{result.case.target} %", str(result.minutes_over), slow]
        lines.append([*cells, f"{result.late:.1f} %", f"{result.pod_hours:.0f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the tables, and draw them with ``--plot``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the day; the README's is 1")
    parser.add_argument("--workers", type=int, default=WORKERS, help="of a pod, %(default)s")
    parser.add_argument("--load", type=float, default=1.0, help="times the README's requests")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture: .svg, .png or .pdf")
    arguments = parser.parse_args()
    day = requests(arguments.seed, load=arguments.load)
    results = [simulate(case, day) for case in cases(arguments.workers)]
    loops = requests(arguments.seed, load=arguments.load * LOOP_LOAD)
    results += [simulate(case, loops) for case in loop_cases()]
    for app in (WAITING, STEADY, LOOPS):
        print(f"The app {app.name}:\n")
        print(table(result for result in results if result.case.app is app), end="\n\n")
    print(f"Waits longer than a request takes, by Erlang's C formula:\n\n{erlang.table()}\n")
    if arguments.plot:
        from picture import save

        save(results, arguments.plot)
        print(f"drawn: {arguments.plot}")


if __name__ == "__main__":
    main()
