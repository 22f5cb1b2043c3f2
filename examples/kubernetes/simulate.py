"""A day of load on a fleet that is scaled by CPU alone, and by utilization and backlog.

    python examples/kubernetes/simulate.py                    # the tables of the README
    python examples/kubernetes/simulate.py --plot day.svg     # and a picture; needs matplotlib
    python examples/kubernetes/simulate.py --seed 2           # another day
    python examples/kubernetes/simulate.py --workers 16 --load 4    # larger pods, for more requests

What is scaled is a queue before each pod, not a cluster; the delays are those of hpa.yaml.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import erlang
import hpa
from day import DAY_S, App, Request, requests
from fleet import Fleet
from signals import Cpu, Ours, Signal

WORKERS = 4  # of a pod, if it is not said otherwise
OBJECTIVE_S = 1.0  # no longer than that should a request wait
LATE_SHARE = 0.05  # a minute is over the objective if more than this share of its requests is
POD_START_S = 30.0
LEAST, MOST = 2, 40  # pods
GROWTH_S = 90  # hpa.yaml: at most twice the pods, or 4 more, in that time

WAITING = App("waits on the network", 1.0, 0.1, slow=(15 * 3600.0, 16 * 3600.0))
STEADY = App("works on a processor", 1.0, 1.0)
OUR_UP = hpa.Rules(0, (hpa.Policy("Percent", 100, GROWTH_S), hpa.Policy("Pods", 4, GROWTH_S)))


class Case(NamedTuple):
    """Something to scale a fleet by."""

    app: App
    name: str
    target: int
    signal: Signal
    workers: int = WORKERS
    up: hpa.Rules = hpa.UP


class Result(NamedTuple):
    """What came of it: minutes over the objective, late requests in percent, and the pods.

    ``slow_over`` are those of the minutes in which the app was slow.
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
    """Return what the README compares, new signals each time."""
    used = workers * WAITING.cpu_share  # cores, by a pod that is busy
    tuned = f"CPU, {100 * used:.0f} % of a core requested"
    found = [cpu(WAITING, "CPU, 1 core requested", 50, 1.0, workers)]
    found += [cpu(WAITING, tuned, target, used, workers) for target in (50, 60, 70)]
    found += [ours(WAITING, target, workers, with_backlog=False) for target in (50, 70)]
    found += [ours(WAITING, target, workers) for target in (40, 50, 60, 70, 80)]
    cores = f"CPU, {workers} cores requested"
    found += [cpu(STEADY, cores, target, workers, workers) for target in (50, 60, 70)]
    return found + [ours(STEADY, target, workers) for target in (50, 60, 70)]


def cpu(app: App, name: str, target: int, request_cores: float, workers: int = WORKERS) -> Case:
    """Return an HPA on CPU, as is usual."""
    return Case(app, name, target, Cpu(app, request_cores, target), workers)


def ours(app: App, target: int, workers: int = WORKERS, *, with_backlog: bool = True) -> Case:
    """Return our example with that target."""
    if not with_backlog:
        return Case(app, "utilization", target, Ours(target, None), workers, OUR_UP)
    signal = Ours(target, backlog_target(app, workers))
    return Case(app, "utilization and backlog", target, signal, workers, OUR_UP)


def backlog_target(app: App, workers: int) -> float:
    """Return what may wait in a pod: as many requests as it begins within the objective."""
    return workers * OBJECTIVE_S / app.service_s


def simulate(case: Case, day: Sequence[Request], *, lasts_s: int = DAY_S) -> Result:
    """Let the day pass, second by second."""
    fleet = Fleet(
        case.app, day, 4, workers=case.workers, start_s=POD_START_S, objective_s=OBJECTIVE_S
    )
    scaler = hpa.Autoscaler(LEAST, MOST, up=case.up)
    replicas = []
    for now_s in range(1, lasts_s + 1):
        fleet.serve(now_s)
        case.signal.look(now_s, fleet)
        # The controller has no clock in common with whoever measures.
        if now_s % hpa.SYNC_S == 5 and (proposals := case.signal.propose(now_s, fleet)):
            fleet.scale(scaler.sync(now_s, proposals, len(fleet.pods)), now_s)
        if now_s % 60 == 0:
            replicas.append(len(fleet.pods))
    return _result(case, fleet, replicas, lasts_s)


def _result(case: Case, fleet: Fleet, replicas: list[int], lasts_s: int) -> Result:
    over = [minute.late > LATE_SHARE * minute.asked for minute in fleet.minutes]
    late = sum(minute.late for minute in fleet.minutes)
    share = 100 * late / sum(minute.asked for minute in fleet.minutes)
    slow_over = [it for minute, it in enumerate(over) if case.app.slowness(60 * minute) > 1]
    hours, most = fleet.pod_hours(lasts_s), max(replicas)
    return Result(case, sum(over), sum(slow_over), share, hours, most, replicas, over)


HEADINGS = ("scaled by", "target", "minutes over", "in the slow hour", "late requests", "pod-hours")


def table(results: Iterable[Result]) -> str:
    """Return the README's table of one app, as Markdown."""
    lines = [list(HEADINGS), ["---"] * len(HEADINGS)]
    for it in results:
        slow = str(it.slow_over) if it.case.app.slow[1] else ""
        cells = [it.case.name, f"{it.case.target} %", str(it.minutes_over), slow]
        lines.append([*cells, f"{it.late:.1f} %", f"{it.pod_hours:.0f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the tables, and draw them if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the day; the README's is 1")
    parser.add_argument("--workers", type=int, default=WORKERS, help="of a pod, %(default)s")
    parser.add_argument("--load", type=float, default=1.0, help="times the README's requests")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture: .svg, .png or .pdf")
    arguments = parser.parse_args()
    day = requests(arguments.seed, load=arguments.load)
    results = [simulate(case, day) for case in cases(arguments.workers)]
    for app in (WAITING, STEADY):
        print(f"The app {app.name}:\n")
        print(table(it for it in results if it.case.app is app), end="\n\n")
    print(f"Longer than a request takes wait, by Erlang's C formula:\n\n{erlang.table()}\n")
    if arguments.plot:
        from picture import save

        save(results, arguments.plot)
        print(f"drawn: {arguments.plot}")


if __name__ == "__main__":
    main()
