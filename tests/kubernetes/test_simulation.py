"""The README's numbers are the simulation's, and the conclusions from them hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import erlang
import hpa
import pytest
import simulate
from day import App, Request, requests
from fleet import Fleet
from signals import Cpu, Ours, Signal
from simulate import STEADY, WAITING

from tests.kubernetes.manifests import EXAMPLE, README

ALWAYS_BUSY = App("of the test", 1.0, 1.0)
TUNED = "CPU, 40 % of a core requested"
BOTH = "utilization and backlog"
LOOPS_CPU = "CPU, 60 % of a core requested"


class Row(NamedTuple):
    """The printed results of one case."""

    minutes_over: int
    slow_over: int
    late: float
    pod_hours: int


Table = dict[tuple[str, int], Row]  # key: signal and target


def readme() -> str:
    """Return the README as one line."""
    return " ".join(README.read_text().split())


def tables(text: str) -> list[str]:
    """Return the tables of a Markdown text."""
    return re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)


def read(table: str) -> Table:
    """Return a table's rows."""
    cells = [re.split(r" ?\| ?", line)[1:-1] for line in table.splitlines()[2:]]
    return {
        (cell[0], int(cell[1][:-2])): Row(
            int(cell[2]), int(cell[3] or 0), float(cell[4][:-2]), int(cell[5])
        )
        for cell in cells
    }


def run(*arguments: str, home: Path) -> str:
    """Run the simulation by its command line, and return the output."""
    command = [sys.executable, str(EXAMPLE / "simulate.py"), *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    environ |= {"MPLCONFIGDIR": str(home)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


@pytest.mark.nightly
def test_the_readme_is_the_simulations(tmp_path: Path) -> None:
    """Tables, conclusions and picture are right, in one test because a run takes seconds."""
    picture = tmp_path / "day.svg"
    printed = tables(run("--plot", str(picture), home=tmp_path))
    assert len(printed) == 4
    written = tables(README.read_text())
    for table in printed:
        assert table in written, f"write this into the README:\n{table}"
    check_picture(picture.read_text())


def test_the_readme_concludes_what_its_tables_have() -> None:
    """The conclusions of its text, by the numbers of its tables."""
    erlang_c, waiting, steady, loops = simulated_tables()
    check_waiting(read(waiting))
    check_steady(read(steady))
    check_loops(read(loops))
    assert erlang_c.strip() == erlang.table()


def test_a_row_is_the_simulations() -> None:
    """The day of the README, and a row of its tables; the test above has all rows."""
    day = requests(1)
    check_day(day)
    _, _, steady, _ = simulated_tables()
    row = simulate.table([simulate.simulate(simulate.ours(STEADY, 60), day)]).splitlines()[2]
    assert row in steady.splitlines(), f"the simulation has {row}"


def simulated_tables() -> list[str]:
    """Return the README's tables of the simulation: of Erlang's formula, and of each app.

    The apps are WAITING, STEADY and LOOPS.
    """
    begins = (f"| {simulate.HEADINGS[0]} |", erlang.table().partition("\n")[0])
    found = [table for table in tables(README.read_text()) if table.startswith(begins)]
    assert len(found) == 4
    return found


def check_waiting(rows: Table) -> None:
    """Check that CPU fails for requests that wait on the network, as the README states."""
    untuned = rows["CPU, 1 core requested", 50]
    assert untuned.pod_hours == round(simulate.LEAST * 24)  # the fleet never grows
    assert untuned.late > 50
    for target in (50, 60, 70):
        assert rows[TUNED, target].slow_over == 60
        assert rows[BOTH, target].slow_over < 50
        assert rows[BOTH, target].late < rows[TUNED, target].late / 2
    for signal, target, told in (
        (TUNED, 50, "{} minutes over at 50 % for {} pod-hours."),
        (BOTH, 50, "leaves {} at 50 % for {},"),
        (BOTH, 60, "and {} at 60 % for {}."),
    ):
        row = rows[signal, target]
        assert told.format(row.minutes_over - row.slow_over, row.pod_hours) in readme()
    for cpu, ours, told in (
        (rows[TUNED, 50], rows[BOTH, 60], "{} % at {} pod-hours against {} % at {},"),
        (rows[TUNED, 60], rows[BOTH, 70], "{} % at {} against {} % at {}."),
    ):
        assert told.format(cpu.late, cpu.pod_hours, ours.late, ours.pod_hours) in readme()
    assert rows["utilization", 50] == rows[BOTH, 50]
    line = [rows[BOTH, target] for target in (40, 50, 60, 70, 80)]
    assert line == sorted(line, key=lambda result: result.minutes_over)
    assert line == sorted(line, key=lambda result: result.pod_hours, reverse=True)


def check_steady(rows: Table) -> None:
    """Check that CPU is as good for requests that need a processor."""
    for target in (50, 60, 70):
        cpu, ours = rows["CPU, 4 cores requested", target], rows[BOTH, target]
        assert cpu.minutes_over <= 1.15 * ours.minutes_over
        assert cpu.pod_hours < ours.pod_hours


def check_loops(rows: Table) -> None:
    """Check that CPU does not see a call that blocks the loops, and that utilization does."""
    for target in (50, 60, 70):
        cpu, ours = rows[LOOPS_CPU, target], rows["loop utilization", target]
        assert cpu.slow_over == 60 > ours.slow_over
        assert ours.late < cpu.late / 2
        assert rows["requests in flight", target].late == pytest.approx(ours.late, rel=0.3)


@pytest.mark.soak
def test_requests_that_only_await_count_in_flight() -> None:
    """The README's pods in the hour of slow awaited calls; utilization needs no more."""
    day = requests(1, load=simulate.LOOP_LOAD)
    pods = {}
    for case in simulate.loop_cases():
        if case.target == 50:
            replicas = simulate.simulate(case, day, lasts_s=11 * 3600).replicas[-60:]
            pods[case.name] = sum(replicas) / len(replicas)
    told = "has {:.1f} pods with requests in flight, and {:.1f} with utilization"
    assert told.format(pods["requests in flight"], pods["loop utilization"]) in readme()


def check_picture(drawn: str) -> None:
    """Check that both apps, all signals and all targets are in the plot."""
    for case in [*simulate.cases(), *simulate.loop_cases()]:
        assert f"<!-- {case.name} -->" in drawn
        assert f"<!--  {case.target} % -->" in drawn
        assert f"<!-- The app {case.app.name} -->" in drawn


@pytest.mark.soak
def test_another_day_tells_the_same(tmp_path: Path) -> None:
    """The conclusions hold for another seed."""
    waiting, steady, loops, _ = tables(run("--seed", "2", home=tmp_path))
    for target in (50, 60, 70):
        ours, tuned = read(waiting)[BOTH, target], read(waiting)[TUNED, target]
        assert ours.slow_over < tuned.slow_over
        assert ours.late < 0.6 * tuned.late
    check_steady(read(steady))
    check_loops(read(loops))


def check_day(day: list[Request]) -> None:
    """Check the README's number of requests, and the constants."""
    assert f"{len(day):,} requests" in readme()
    assert f"{simulate.WORKERS} workers" in readme()
    assert f"{simulate.POD_START_S:.0f} s after its creation" in readme()
    work_s = sum(request.work for request in day) * STEADY.service_s
    assert f"{work_s / simulate.WORKERS / 3600:.0f} pod-hours would do" in readme()


def seconds_until_known(signal: Signal, changed_s: int) -> int:
    """Return the time until a change is reported in full, read once a second.

    Before the change no worker is busy, afterwards all workers are.
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
    """The delays until an autoscaler has the full change, for all phases of the clocks."""
    phases = [(at_s, refresh_at_s) for at_s in range(600, 630) for refresh_at_s in range(0, 30, 3)]
    ours = [seconds_until_known(Ours(50, None, refresh), at_s) for at_s, refresh in phases]
    cpu = [seconds_until_known(Cpu(ALWAYS_BUSY, 4, 50), at_s) for at_s in range(600, 615)]
    for name, known in (("is seen in full", ours), ("by the metrics server", cpu)):
        told = f"{min(known)} to {max(known) + hpa.SYNC_S} s"
        assert re.search(f"{name}[^.]* {told}", readme()), f"{name}: {told}"


@pytest.mark.soak
def test_larger_pods_as_the_readme_has_them() -> None:
    """Sixteen workers, four times the load, 70 %: the README's numbers."""
    result = simulate.simulate(simulate.ours(WAITING, 70, 16), requests(1, load=4))
    told = f"{result.minutes_over} minutes over the objective, {result.slow_over} of them"
    assert f"{told} in the slow hour, and {result.pod_hours:.0f} pod-hours" in readme(), told
