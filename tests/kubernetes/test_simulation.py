"""The README's numbers are the simulation's, and what it concludes from them holds."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import erlang
import hpa
import pytest
import simulate
from day import App, Request, requests
from fleet import Fleet
from picture import save
from signals import Cpu, Ours, Signal
from simulate import STEADY, WAITING, Result

from tests.kubernetes.manifests import README

ALWAYS_BUSY = App("of the test", 1.0, 1.0)


def by_name(results: Sequence[Result], app: App) -> dict[str, dict[int, Result]]:
    """Return an app's results by signal and target."""
    found: dict[str, dict[int, Result]] = defaultdict(dict)
    for it in results:
        if it.case.app is app:
            found[it.case.name][it.case.target] = it
    return found


def test_the_readme_is_the_simulations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables, its day and what it concludes, and the picture; in one, for it takes seconds."""
    day = requests(1)
    check_day(day)
    results = [simulate.simulate(case, day) for case in simulate.cases()]
    check_tables(results)
    check_conclusions(results)
    check_order(results)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    check_picture(results, tmp_path / "day.svg")


def check_tables(results: Sequence[Result]) -> None:
    """Each row is as ``simulate.py`` prints it."""
    written = re.findall(r"(?:^\|.*\n)+", README.read_text(), re.M)
    for app in (WAITING, STEADY):
        table = simulate.table(it for it in results if it.case.app is app)
        assert f"{table}\n" in written, f"write this into the README:\n{table}"
    assert f"{erlang.table()}\n" in written, f"write this into the README:\n{erlang.table()}"


def check_day(day: Sequence[Request]) -> None:
    """Its number of requests, and the constants."""
    text = " ".join(README.read_text().split())
    assert f"{len(day):,} requests" in text
    assert f"{simulate.WORKERS} workers" in text
    assert f"{simulate.POD_START_S:.0f} s after its creation" in text
    work_s = sum(it.work for it in day) * STEADY.service_s
    assert f"{work_s / simulate.WORKERS / 3600:.0f} pod-hours would do" in text


def check_conclusions(results: Sequence[Result]) -> None:
    """CPU fails where requests wait on the network, and is as good where they do not."""
    waiting, steady = by_name(results, WAITING), by_name(results, STEADY)
    untuned, tuned, _, ours = waiting.values()
    assert untuned[50].most_pods == simulate.LEAST  # it never sees a load
    assert untuned[50].late > 50
    for target in (50, 60, 70):
        assert tuned[target].slow_over > 50  # of sixty
        assert ours[target].slow_over < tuned[target].slow_over - 10
        assert ours[target].late < tuned[target].late / 2
    text = " ".join(README.read_text().split())
    for it, told in (
        (tuned[50], "{} minutes over at 50 % for {} pod-hours;"),
        (ours[50], "leaves {} at 50 % for {},"),
        (ours[60], "and {} at 60 % for {}."),
    ):
        assert told.format(it.minutes_over - it.slow_over, round(it.pod_hours)) in text
    cpu, ours_steady = steady.values()
    for target in (50, 60, 70):
        assert cpu[target].minutes_over <= 1.15 * ours_steady[target].minutes_over
        assert cpu[target].pod_hours <= ours_steady[target].pod_hours


def check_order(results: Sequence[Result]) -> None:
    """So there is something to choose."""
    line = list(by_name(results, WAITING)["utilization and backlog"].values())
    assert [it.case.target for it in line] == [40, 50, 60, 70, 80]
    over, hours = [it.minutes_over for it in line], [it.pod_hours for it in line]
    assert over == sorted(over)
    assert hours == sorted(hours, reverse=True)


def check_picture(results: Sequence[Result], path: Path) -> None:
    """Check that both apps, all signals and all targets are in the plot."""
    save(results, path)
    drawn = path.read_text()
    for it in results:
        assert f"<!-- {it.case.name} -->" in drawn
        assert f"<!--  {it.case.target} % -->" in drawn
        assert f"<!-- The app {it.case.app.name} -->" in drawn


def test_another_day_tells_the_same() -> None:
    """It is not this seed's luck."""
    day = requests(2)
    tuned = simulate.simulate(simulate.cpu(WAITING, "CPU", 50, 0.4), day)
    ours = simulate.simulate(simulate.ours(WAITING, 50), day)
    assert ours.slow_over < tuned.slow_over - 10
    assert ours.late < tuned.late


def test_the_command_prints_the_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table for each app; here of fewer cases and requests, for it is the same code."""
    few = simulate.cases()[1:2] + simulate.cases()[-1:]
    monkeypatch.setattr(simulate, "cases", lambda workers: few)
    monkeypatch.setattr(sys, "argv", ["simulate.py", "--seed", "3", "--load", "0.1"])
    simulate.main()
    printed = capsys.readouterr().out
    assert printed.count("| scaled by | target |") == 2
    assert "| CPU, 40 % of a core requested | 50 % |" in printed


def seconds_until_known(signal: Signal, changed_s: int) -> int:
    """Return how long after a change it is told of in full, to one who asks each second.

    Before it no worker is at work, afterwards all are.
    """
    fleet = Fleet(ALWAYS_BUSY, [], 20, workers=4, start_s=0, objective_s=1)
    for now_s in range(changed_s - 120, changed_s + 200):
        if now_s == changed_s:
            for pod in fleet.pods:
                for _ in range(fleet.workers):
                    pod.take(now_s, 10_000)
        signal.look(now_s, fleet)
        if signal.propose(now_s, fleet) == [2 * len(fleet.pods)]:
            return now_s - changed_s
    raise AssertionError("it is never told")


def test_the_delays_are_those_of_the_readme() -> None:
    """Until an autoscaler knows of a change in full, whatever the phases of all their clocks."""
    phases = [(at_s, refresh_at_s) for at_s in range(600, 630) for refresh_at_s in range(0, 30, 3)]
    ours = [seconds_until_known(Ours(50, None, refresh), at_s) for at_s, refresh in phases]
    cpu = [seconds_until_known(Cpu(ALWAYS_BUSY, 4, 50), at_s) for at_s in range(600, 615)]
    text = " ".join(README.read_text().split())
    for name, known in (("is seen in full", ours), ("by the metrics server", cpu)):
        told = f"{min(known)} to {max(known) + hpa.SYNC_S} s"
        assert re.search(f"{name}[^.]* {told}", text), f"{name}: {told}"


@pytest.mark.soak
def test_larger_pods_as_the_readme_has_them() -> None:
    """Sixteen workers, four times the load, 70 %."""
    result = simulate.simulate(simulate.ours(WAITING, 70, 16), requests(1, load=4))
    text = " ".join(README.read_text().split())
    told = f"{result.minutes_over} minutes over the objective, {result.slow_over} of them"
    assert f"{told} in the slow hour, and {result.pod_hours:.0f} pod-hours" in text, told
