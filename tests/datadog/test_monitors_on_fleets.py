"""The monitors on synthetic data: several hosts, restarts, upgrades, and slow requests."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.datadog.agent_flush import Received
from tests.datadog.evaluator import ALERT, OK, evaluate
from tests.datadog.files import MONITORS
from tests.datadog.made import BIND, pushed, received, recorded, sequence, together, with_tags
from tests.datadog.series import Group

EVERY_S = 10  # seconds between evaluations, at any of which Datadog may evaluate


def definition(name: str, **replaced: str) -> dict[str, Any]:
    """Return a monitor with replaced words in its query."""
    found: dict[str, Any] = dict(MONITORS[name]["definition"])
    for old, new in replaced.items():
        assert old in found["query"]
        found["query"] = found["query"].replace(old, new)
    return found


def states(monitor: Mapping[str, Any], got: Received) -> set[tuple[Group, str]]:
    """Return each group's states at any time."""
    times_s = range(EVERY_S, int(got.until_s) + 1, EVERY_S)
    return {item for at_s in times_s for item in evaluate(monitor, got, at_s).items()}


def told(monitor: Mapping[str, Any], got: Received) -> set[Group]:
    """Return the groups that cause a notification, including warnings."""
    return {group for group, state in states(monitor, got) if state != OK}


def alerted(monitor: Mapping[str, Any], got: Received) -> set[Group]:
    """Return the groups in the state Alert."""
    return {group for group, state in states(monitor, got) if state == ALERT}


def without_host(name: str) -> dict[str, Any]:
    """Return a monitor that is not grouped by host."""
    found = definition(name)
    assert "app,host" in found["query"]
    return found | {"query": found["query"].replace("app,host", "app")}


def test_one_host_in_a_crash_loop_does_not_hide_among_others() -> None:
    """Workers are counted by host; averaged over ten hosts they would be too few."""
    bad = with_tags(received(recorded("crash_loop")), host="bad", bind=BIND)
    well = with_tags(received(recorded("saturated")), bind=BIND)
    fleet = together(bad, *(with_tags(well, host=f"well{number}") for number in range(9)))
    assert alerted(definition("crash_loop"), fleet) == {("lab", "demo", "lab", "bad", BIND)}
    assert told(without_host("crash_loop"), fleet) == set()


def test_one_hosts_backlog_does_not_hide_among_others() -> None:
    """Nine healthy hosts have short queues at times; only the tenth causes an alert."""
    bad = with_tags(received(recorded("saturated")), host="bad", listener="l")
    well = with_tags(received(recorded("healthy")), listener="l")
    fleet = together(bad, *(with_tags(well, host=f"well{number}") for number in range(9)))
    monitor = definition("backlog_not_draining")
    assert told(monitor, fleet) == {("lab", "demo", "lab", "bad", "l")}
    assert told(without_host("backlog_not_draining"), fleet) == set()


def test_a_start_after_an_outage_is_no_crash_loop() -> None:
    """All workers are forked at once, after 3 to 12 minutes of silence.

    Without zeros in the gap the forks would be divided by few points.
    """
    healthy, monitor = recorded("healthy"), definition("crash_loop")
    for outage_s in range(180, 721, 60):
        got = received(sequence((0, healthy, 300), (300 + outage_s, healthy, 300)))
        assert told(monitor, got) == set(), outage_s
    got = received(sequence((0, healthy, 300), (840, healthy, 300)))
    unfilled = definition("crash_loop", default_zero="")
    silent = unfilled["options"] | {"on_missing_data": "show_no_data"}
    assert told(unfilled | {"options": silent}, got) != set()


@pytest.mark.parametrize(
    ("name", "phase", "group"),
    [
        ("saturated_workers", "saturated", ("lab", "demo", "lab", "bad")),
        ("requests_waiting", "saturated", ("lab", "demo", "lab", "bad")),
        ("crash_loop", "crash_loop", ("lab", "demo", "lab", "lab", "bad")),
        ("not_running", "stopped", ("lab", "demo", "lab", "bad")),
        ("backlog_not_draining", "saturated", ("lab", "demo", "lab", "lab", "bad")),
        ("backlog_near_limit", "overflow", ("lab", "demo", "lab", "lab", "bad")),
        ("connections_dropped", "overflow", ("lab", "demo", "lab", "bad")),
    ],
)
def test_one_of_two_servers_of_one_name_on_a_host(name: str, phase: str, group: Group) -> None:
    """Only the faulty server alerts: the other one neither hides it nor alerts itself."""
    bad = with_listener(received(recorded(phase)), "bad")
    both = together(bad, with_listener(received(recorded("healthy")), "well"))
    assert alerted(definition(name), both) == {group}
    assert {line for line in told(definition(name), both) if "well" in line} == set()


def test_without_bind_one_of_two_servers_hides_the_other() -> None:
    """A running server hides a stopped one, and a half-busy one hides a saturated one."""
    for name, phase, well, by in (
        ("not_running", "stopped", "healthy", ',"bind"'),
        ("saturated_workers", "saturated", "near_timeout", ",bind"),
    ):
        bad = with_listener(received(recorded(phase)), "bad")
        both = together(bad, with_listener(received(recorded(well)), "well"))
        assert told(definition(name), both) != set()
        assert told(definition(name, **{by: ""}), both) == set()


def with_listener(got: Received, listener: str) -> Received:
    """Return the data of a server with another listener."""
    by_listener = replace(
        got, series=tuple(series for series in got.series if "backlog" in series.metric)
    )
    others = replace(
        got, series=tuple(series for series in got.series if "backlog" not in series.metric)
    )
    return together(
        with_tags(replace(by_listener, statuses=()), bind=listener, listener=listener),
        with_tags(others, bind=listener),
    )


SPAWNED = {"gunicorn.workers.spawned": "c", "gunicorn.workers": "g"}


def forked(times_s: list[int], workers: int, at_a_time: int, old_leave_s: int = 30) -> Received:
    """Return the pushes of twenty minutes with replacements of all workers at these times.

    ``at_a_time`` workers are forked per second; the former workers coexist for a while.
    """
    seconds = []
    for second in range(1200):
        new = 0
        for begun_s in times_s:
            done = min(workers, max(0, second - begun_s) * at_a_time)
            new += min(workers, max(0, second - begun_s + 1) * at_a_time) - done
        old = sum(begun_s <= second < begun_s + old_leave_s for begun_s in times_s if begun_s)
        seconds.append({"gunicorn.workers.spawned": new, "gunicorn.workers": workers * (1 + old)})
    return pushed(seconds, SPAWNED)


@pytest.mark.parametrize("workers", [1, 4, 64])
@pytest.mark.parametrize("at_a_time", [1, 64])
def test_reloads_are_no_crash_loop(workers: int, at_a_time: int) -> None:
    """A start and two reloads in ten minutes cause no alert, for any number of workers."""
    got = forked([0, 400, 700], workers, at_a_time)
    assert told(definition("crash_loop"), got) == set()


@pytest.mark.parametrize("workers", [1, 4, 64])
def test_workers_that_all_die_each_minute_are_a_crash_loop(workers: int) -> None:
    """Workers that die by a timeout, or during the boot, cause an alert."""
    got = forked(list(range(300, 1200, 60)), workers, 64, old_leave_s=0)
    assert alerted(definition("crash_loop"), got) == {("lab", "demo", "lab", "lab", BIND)}


def upgraded() -> Received:
    """Return the pushes of both masters: the second is app:lab.2 until the first one ends."""
    healthy = recorded("healthy")
    second = replace(sequence((60, healthy, 62)), lasts_s=healthy.lasts_s)
    promoted = received(sequence((122, healthy, healthy.lasts_s - 122)))
    first = received(recorded("stopped"))
    both = together(first, with_tags(received(second), app="lab.2"), promoted)
    return with_tags(both, bind=BIND)  # both share the sockets


def test_an_upgrades_second_master_is_not_missed() -> None:
    """The second app name ends with the first master, which reports CRITICAL at its end."""
    got = upgraded()
    for name in MONITORS:
        assert told(definition(name), got) == set(), name
    second = ("lab", "demo", "lab.2")
    assert told(definition("no_data", **{"!app:*.2": "*"}), got) == {second}
    by_app = {'"service","host"': '"service","app","host"'}
    assert told(definition("not_running", **by_app), got) == {(*second, "lab", BIND)}


QUEUES = {"gunicorn.backlog": "h", "gunicorn.backlog.limit": "g"}


def queue(host: str, waiting: int, limit: int) -> Received:
    """Return the pushes of a host with a constant queue for five minutes."""
    second = {"gunicorn.backlog": waiting, "gunicorn.backlog.limit": limit}
    return with_tags(pushed([second] * 300, QUEUES, "listener:l"), host=host)


def test_a_queue_is_measured_by_its_own_limit() -> None:
    """A queue is compared with its own limit, not the lowest limit of all hosts."""
    monitor = definition("backlog_near_limit")
    both = together(queue("small", 0, 128), queue("large", 100, 4096))
    assert told(monitor, both) == set()
    assert told(without_host("backlog_near_limit"), both) != set()
    both = together(queue("small", 100, 128), queue("large", 100, 4096))
    assert told(monitor, both) == {("lab", "demo", "lab", "small", "l")}


WAIT = "gunicorn.request.wait.95percentile"


@pytest.mark.parametrize(
    ("workers", "service_s", "wait_ms"),
    [(2, 10, 4000), (2, 5, 3000), (1, 2, 3000), (4, 30, 9000), (2, 10, 10_000)],
)
@pytest.mark.parametrize("hosts", [1, 10])
def test_slow_requests_that_wait_are_seen(
    workers: int, service_s: int, wait_ms: int, hosts: int
) -> None:
    """Each request waits, although in most seconds none begins and 0 is pushed."""
    chance = random.Random(1)
    got = [slow(chance, workers / service_s, wait_ms, f"host{number}") for number in range(hosts)]
    assert alerted(definition("requests_waiting"), together(*got)) == {("lab", "demo", "lab", BIND)}


def slow(chance: random.Random, taken_per_s: float, wait_ms: float, host: str) -> Received:
    """Return the pushes of a host in twenty minutes in which every request waits."""
    waits, taken_s = [0.0] * 1200, 0.0
    while taken_s < len(waits):
        waits[int(taken_s)] = wait_ms
        taken_s += chance.expovariate(taken_per_s)
    return with_tags(pushed(({WAIT: wait} for wait in waits), {WAIT: "g"}), host=host)


def test_a_single_long_wait_is_no_alert() -> None:
    """One wait of four seconds, or one every ten minutes, causes no alert."""
    waits = [4000.0 if second % 600 == 9 else 0.0 for second in range(1200)]
    got = pushed(({WAIT: wait} for wait in waits), {WAIT: "g"})
    assert alerted(definition("requests_waiting"), got) == set()
