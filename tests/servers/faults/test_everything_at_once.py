"""A server under mixed load with a fault every few seconds; the long form takes an hour.

The long form alone:
``python -m pytest -n0 -m soak tests/servers/faults/test_everything_at_once.py -s``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.conftest import ServerFactory
from tests.lab.chaos_clients import ChaosClients
from tests.lab.faults import Faults, MovingAgent
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import descriptors, our_threads, resident_kb
from tests.lab.pushes import Push, check_sanity
from tests.lab.sandbox import with_false_time
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

WORKERS = 4
MOST_WORKERS = 3 * WORKERS  # of two reloads in quick succession
MOST_CONNECTIONS = 100  # of 7 clients; one in five does not wait for an answer
INTERVAL_S = 0.5
# In the short form, beside other tests: without pauses the clients would take all of a CPU.
REQUESTS, PAUSE_S = 60, 0.2
FAULT_EVERY_S = 5.0
SETTLED_S = 1.5  # before and after a fault
SPARE_S = 1.0  # what other load may add to an interval
GROWTH_KB = 2048
TRIES = 3  # of the short form
CONFIG = f"""
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)  # for libfaketime, see test_machine
from gunicorn_backlog.hooks import *
from gunicorn_backlog import configure
workers = {WORKERS}
threads = 2
worker_class = "gthread"
max_requests = 2000
max_requests_jitter = 1000
timeout = 20
loglevel = "warning"
"""


@contextmanager
def under_load(server: Server, pause_s: float) -> Iterator[list[float]]:
    """Send all kinds of requests but killing ones; yield the times of those without an answer.

    :param pause_s: after every REQUESTS requests.
    """
    over = threading.Event()
    unanswered_s: list[float] = []

    def storm() -> None:
        while not over.wait(pause_s):
            ChaosClients(server, REQUESTS, rarely=10**9, without={"leave"}).run()

    def ask() -> None:
        while not over.wait(0.01 + pause_s / 10):
            began_s = time.monotonic()
            try:
                answered = b"con" in server.get("/plain")
            except OSError:
                answered = False
            if not answered:
                unanswered_s.append(began_s)

    threads = [threading.Thread(target=run) for run in (storm, ask)]
    for thread in threads:
        thread.start()
    try:
        yield unanswered_s
    finally:
        over.set()
        for thread in threads:
            thread.join()


# 12.6 s: a full queue of the Agent, fewer and more workers, and another time of day.
@forms("form", short=(0.21, 213), long=(60, 3600))
def test_everything_at_once(
    form: tuple[float, int], newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """A fault every few seconds: gunicorn serves, one thread runs, and all numbers are right."""
    minutes, seed = form
    # Other tests may delay a push of the short form: the best of its tries counts.
    for number in range(1 if minutes > 1 else TRIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        longest_s = longest_gap_s(minutes, seed, newest, serve, folder)
        if longest_s < 2 * INTERVAL_S + SPARE_S:
            return
    raise AssertionError(f"a gap of {longest_s:.2f} s without a fault")


def longest_gap_s(
    minutes: float, seed: int, gunicorn: Gunicorn, serve: ServerFactory, folder: Path
) -> float:
    """Cause faults, check all but the gaps between pushes, and return the longest one."""
    offset = folder / "offset"
    offset.write_text("+0\n")
    agent = MovingAgent(folder / "agent")
    agent.come()
    environ = {
        "GUNICORN_BACKLOG_URL": agent.url,
        "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S),
        **with_false_time(offset),
    }
    server = serve(gunicorn, config=CONFIG, workers=WORKERS, environ=environ)
    wait_until_idle(agent)
    faults = Faults(server, agent, offset, seed=seed)
    resident: list[int] = []
    with under_load(server, PAUSE_S if minutes <= 1 else 0.0) as unanswered_s:
        end_s = time.monotonic() + 60 * minutes
        while time.monotonic() < end_s:
            faults.do_one()
            next_s = time.monotonic() + FAULT_EVERY_S
            wait_for("one thread of ours", lambda: len(our_threads(server.pid)) == 1)
            resident.append(resident_kb(server.pid))
            time.sleep(max(0.0, next_s - time.monotonic()))  # the time of the next fault
    wait_until_idle(agent)
    agent.go()

    pushed = [Push(each) for each in agent.datagrams if each.octets != b"full"]
    print(f"{dict(faults.done)}; {len(pushed)} pushes, {len(unanswered_s)} requests unanswered")
    check_growth(resident)
    check_answers(unanswered_s, faults)
    check_log(server, faults)
    assert "memfd:gunicorn_backlog" in str(descriptors(server.pid))
    return check_pushes(pushed, faults)


def wait_until_idle(agent: MovingAgent) -> None:
    """Wait for a push with all workers idle and nothing in flight or queued."""
    idle = {"idle": WORKERS, "working": 0, "starting": 0}

    def settled() -> bool:
        push = Push(agent.datagrams[-1]) if agent.datagrams else None
        return bool(push and push.workers == idle and is_at_rest(push))

    wait_for("all to be idle", settled, deadline_s=60)


def is_at_rest(push: Push) -> bool:
    """Return whether nothing is in flight or queued."""
    names = ("gunicorn.requests.in_flight", "gunicorn.threads.queued")
    return not any(push.values(name)[0] for name in names)


def check_pushes(pushed: Sequence[Push], faults: Faults) -> float:
    """Assert that all numbers are possible; return the longest gap in s without a fault."""
    check_sanity(pushed, workers=MOST_WORKERS, connections=MOST_CONNECTIONS)
    own = [push for push in pushed if push.all("gunicorn.is_running", "app:lab")]
    longest_s = 0.0
    for before, after in pairwise(own):
        if not faulty(faults, before.at_s, after.at_s):
            longest_s = max(longest_s, after.at_s - before.at_s)
    print(f"longest gap without a fault: {longest_s:.2f} s")
    return longest_s


def check_growth(resident: Sequence[int]) -> None:
    """Assert that the arbiter's memory does not grow after the first quarter."""
    settled = resident[len(resident) // 4 :]
    grown_kb = max(settled[-len(settled) // 4 :]) - max(settled[: len(settled) // 4 + 1])
    print(f"resident: {min(resident)} to {max(resident)} kB, grown by {grown_kb} kB")
    assert grown_kb < GROWTH_KB


def check_answers(unanswered_s: Sequence[float], faults: Faults) -> None:
    """Assert that requests had no answer only near a fault, when a worker was killed or exited."""
    for began_s in unanswered_s:
        assert faulty(faults, began_s, began_s), began_s


def faulty(faults: Faults, began_s: float, ended_s: float) -> bool:
    """Return whether a fault happened near that time."""
    return any(
        begin_s - SETTLED_S < ended_s and began_s < end_s + SETTLED_S
        for begin_s, end_s, _ in faults.windows
    )


def check_log(server: Server, faults: Faults) -> None:
    """Assert one line per loss and return of the Agent, and no error of ours."""
    lines = server.our_lines
    assert not [line for line in lines if "gunicorn is not affected" in line]
    ours = [line for line in lines if "the Agent at" in line]
    assert ours == lines
    times = sum(faults.done[kind] for kind in ("agent_away", "agent_deaf"))
    masters = 1 + faults.done["upgrade_and_back"]
    assert len(lines) <= 2 * times * masters + masters
