"""A day of load on a fleet that is scaled by CPU alone, and by utilization and backlog.

    python examples/kubernetes/simulate.py                    # the tables of the README
    python examples/kubernetes/simulate.py --plot day.svg     # and a picture; needs matplotlib
    python examples/kubernetes/simulate.py --seed 2           # another day

What is scaled is a queue before each pod, not a cluster; the delays are those of hpa.yaml.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import hpa
from day import DAY_S, App, Request, requests
from fleet import Fleet
from signals import Cpu, Ours, Signal

WORKERS = 4  # of a pod
OBJECTIVE_S = 1.0  # no longer than that should a request wait
LATE_SHARE = 0.05  # a minute is over the objective if more than this share of its requests is
POD_START_S = 30.0
LEAST, MOST = 2, 40  # pods
BACKLOG = 4  # waiting requests of a pod: as many as it begins within the objective
HALVING_S = 90  # hpa.yaml: at most twice the pods, or 4 more, in that time

WAITING = App("waits on the network", 1.0, 0.1, slow=(15 * 3600.0, 16 * 3600.0))
STEADY = App("works on a processor", 1.0, 1.0)
OUR_UP = hpa.Rules(0, (hpa.Policy("Percent", 100, HALVING_S), hpa.Policy("Pods", 4, HALVING_S)))


class Case(NamedTuple):
    """Something to scale a fleet by."""

    app: App
    name: str
    target: int
    signal: Signal
    up: hpa.Rules = hpa.UP


class Result(NamedTuple):
    """What came of it: minutes over the objective, late requests in percent, and the pods."""

    case: Case
    minutes_over: int
    late: float
    pod_hours: float
    most_pods: int
    replicas: list[int]  # at the end of each minute
    over: list[bool]  # of each minute


def cases() -> list[Case]:
    """Return what the README compares, new signals each time."""
    tuned = f"CPU, {100 * WORKERS * WAITING.cpu_share:.0f} % of a core requested"
    found = [Case(WAITING, "CPU, 1 core requested", 50, Cpu(WAITING, 1.0, 50))]
    found += [Case(WAITING, tuned, it, Cpu(WAITING, WORKERS * 0.1, it)) for it in (50, 60, 70)]
    found += [ours(WAITING, it, None) for it in (50, 70)]
    found += [ours(WAITING, it, BACKLOG) for it in (40, 50, 60, 70, 80)]
    cores = f"CPU, {WORKERS} cores requested"
    found += [Case(STEADY, cores, it, Cpu(STEADY, WORKERS, it)) for it in (50, 60, 70)]
    return found + [ours(STEADY, it, BACKLOG) for it in (50, 60, 70)]


def ours(app: App, target: int, backlog: int | None) -> Case:
    """Return our example with that target."""
    name = "utilization" if backlog is None else "utilization and backlog"
    return Case(app, name, target, Ours(target, backlog), OUR_UP)


def simulate(case: Case, day: Sequence[Request], *, lasts_s: int = DAY_S) -> Result:
    """Let the day pass, second by second."""
    fleet = Fleet(
        case.app, day, 4, workers=WORKERS, start_s=POD_START_S, objective_s=OBJECTIVE_S
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
    return Result(
        case, sum(over), share, fleet.pod_hours(lasts_s), max(replicas), replicas, over
    )


def table(results: Iterable[Result]) -> str:
    """Return the README's table of one app."""
    lines = [
        "| scaled by | target | minutes over the objective | late requests | pod-hours | most pods |",
        "|---|---|---|---|---|---|",
    ]
    for it in results:
        cells = [it.case.name, f"{it.case.target} %", str(it.minutes_over), f"{it.late:.1f} %"]
        cells += [f"{it.pod_hours:.0f}", str(it.most_pods)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and draw them if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the day; the README's is 1")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture: .svg, .png or .pdf")
    arguments = parser.parse_args()
    day = requests(arguments.seed)
    results = [simulate(case, day) for case in cases()]
    for app in (WAITING, STEADY):
        print(f"The app {app.name}:\n")
        print(table(it for it in results if it.case.app is app), end="\n\n")
    if arguments.plot:
        from picture import save

        save(results, arguments.plot)
        print(f"drawn: {arguments.plot}")


if __name__ == "__main__":
    main()
