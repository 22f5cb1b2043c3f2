"""What the arbiter's thread takes of a processor, and what a sample and a push of a server do."""

from __future__ import annotations

import logging
import os
import platform
import socket
import statistics
import tempfile
import time
import timeit
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from agent import StandInAgent

from gunicorn_backlog.address import parse
from gunicorn_backlog.delivery import Delivery
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.sampler import Sampler
from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.settings import Settings
from gunicorn_backlog.slot import Kind
from gunicorn_backlog.window import Window
from tests.lab.arbiter import Arbiter, Listener, Worker
from tests.lab.gunicorns import install
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.vitals import cpu_ns, our_threads

ROUNDS = 5
ROUND_S = 20.0
STEPS = 200
LISTENERS = (1, 4, 16, 64)
WORKERS = (1, 16, 128, 1000)
NOTICES = Notices(logging.getLogger("benchmark"))


def shares_of_a_core() -> list[float]:
    """Watch the thread of a real gunicorn with 4 workers and 1 listener; return percentages."""
    with (
        tempfile.TemporaryDirectory() as folder,
        StandInAgent() as agent,
        Server(
            install(version("gunicorn"), Path(folder)),
            Path(folder),
            workers=4,
            environ={"GUNICORN_BACKLOG_URL": agent.url},
        ) as server,
    ):
        wait_until_all_are_idle(agent, workers=4)
        (thread,) = our_threads(server.pid)
        shares = []
        for _ in range(ROUNDS):
            before_ns, began_ns = cpu_ns(server.pid, thread), time.monotonic_ns()
            time.sleep(ROUND_S)
            used_ns = cpu_ns(server.pid, thread) - before_ns
            shares.append(100 * used_ns / (time.monotonic_ns() - began_ns))
        sizes = {len(datagram.octets) for datagram in agent.datagrams}
        print(f"datagrams: one per interval, {min(sizes)} to {max(sizes)} bytes")
    return shares


def step_of(stack: ExitStack, agent: StandInAgent, listeners: int, count: int) -> dict[str, float]:
    """Return what a sample and a push take in the median, in us, with so many workers."""
    sockets = [
        stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(listeners)
    ]
    scoreboard = Scoreboard()
    running = {}
    for age in range(1, count + 1):
        pid = os.getpid() + age  # the claim looks only at who is dead
        scoreboard.claim(pid, age, Kind.SYNC, 1, tells_waits=True)
        running[pid] = Worker(pid=pid, age=age)
    arbiter = Arbiter([Listener(it) for it in sockets], running, worker_age=count)
    sampler, window = Sampler(arbiter, scoreboard, NOTICES), Window(count)
    sampler.begin(count)
    delivery = Delivery(Settings()._replace(address=parse(agent.url)), NOTICES)
    sample_us, push_us = [], []
    for _ in range(STEPS):
        sample_us.append(1e6 * timeit.timeit(lambda: window.add(sampler.sample()), number=1))

        def push() -> None:
            interval = window.close(sampler.dropped(), sampler.waits())
            assert interval is not None
            delivery.deliver(interval, "lab")

        push_us.append(1e6 * timeit.timeit(push, number=1))
    delivery.close()
    return {"sample": statistics.median(sample_us), "push": statistics.median(push_us)}


def main() -> None:
    """Measure, and print."""
    print(
        f"Python {platform.python_version()}, gunicorn {version('gunicorn')}, "
        f"datadog {version('datadog')}, Linux {platform.release()}, {os.cpu_count()} cores"
    )
    shares = shares_of_a_core()
    print(
        f"the thread, 4 workers, 1 listener: {statistics.median(shares):.3f} % of a core "
        f"({min(shares):.3f} to {max(shares):.3f}, {ROUNDS} times {ROUND_S:g} s)"
    )
    with ExitStack() as stack, StandInAgent() as agent:
        for listeners, count in (
            [(n, 4) for n in LISTENERS] + [(1, n) for n in WORKERS] + [(64, 1000)]
        ):
            took = step_of(stack, agent, listeners, count)
            print(
                f"{listeners:4} listeners, {count:5} workers: "
                f"a sample {took['sample']:8.1f} us, a push {took['push']:8.1f} us"
            )


if __name__ == "__main__":
    main()
