"""A server for the arbiter's thread to sample: sockets and slots, without processes."""

from __future__ import annotations

import logging
import os
import socket
import timeit
from contextlib import ExitStack
from typing import NamedTuple
from unittest.mock import patch

from gunicorn_backlog.config.agent_address import Address
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd.reporter import Reporter
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.window import Window
from gunicorn_backlog.scoreboard import allocation
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import TAKEN
from tests.lab.fake_arbiter import Arbiter, Listener, Worker


class Size(NamedTuple):
    """Numbers of listeners, workers, and ``threads`` per worker (0: a sync worker)."""

    listeners: int
    workers: int
    threads: int = 0

    def __str__(self) -> str:
        """Return the size as the name of a table's row."""
        listeners = f"{self.listeners} listener{'s' if self.listeners > 1 else ''}"
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return f"{listeners}, {workers}" + (f" of {self.threads} threads" if self.threads else "")


class StandIn:
    """A server of one size; ``sample`` and ``push`` do the thread's steps."""

    def __init__(self, size: Size) -> None:
        self._stack = ExitStack()
        sockets = [self._stack.enter_context(listening()) for _ in range(size.listeners)]
        scoreboard, running = Scoreboard(), {}
        kind = Kind.GTHREAD if size.threads else Kind.SYNC
        # No process has these pids: the slot of a dead process would be allocated again.
        with patch.object(allocation, "_is_alive", lambda pid: True):
            for age in range(1, size.workers + 1):
                pid = os.getpid() + age
                slot = scoreboard.claim(pid, age, kind, size.threads or 1)
                slot.measure_waits()
                running[pid] = Worker(pid=pid, age=age)
        self._record = slot.threads[0] if size.threads else slot
        arbiter = Arbiter([Listener(sock) for sock in sockets], running, worker_age=size.workers)
        logger = OnceLogger(logging.getLogger("benchmark"))
        self.sampler = Sampler(arbiter, scoreboard, logger)
        self.sampler.begin(size.workers)
        self._check(size)
        self._window = Window(size.workers)
        agent = self._stack.enter_context(deaf_agent())
        address = Address("udp", *agent.getsockname())
        self._reporter = Reporter(Settings()._replace(address=address), logger)
        self._stack.callback(self._reporter.agent.close)
        self.sample_s = timeit.timeit(self.sample, number=10) / 10

    def _check(self, size: Size) -> None:
        """Raise AssertionError if the sampled server differs from ``size``."""
        counts, threads = self.sampler.sample().counts, size.workers * size.threads
        assert counts is not None
        idle = counts.threads["gthread"].idle if counts.threads else 0
        if (counts.idle, idle) != (size.workers, threads):
            raise AssertionError(f"not a server with {size}: {counts}")

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def sample(self) -> None:
        """Take one sample, after one of the workers has accepted another connection."""
        self._record.words[TAKEN] += 1
        self._window.add(self.sampler.sample())

    def push(self) -> None:
        """Push the summary of the samples since the last push."""
        interval = self._window.close()
        dropped, waits = self.sampler.listeners.dropped(), self.sampler.workers.waits()
        interval = interval._replace(dropped=dropped, waits=waits)
        self._reporter.deliver(interval, "lab", self.sampler.listeners.bind)


def listening(address: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
    """Return a listening TCP socket that shares its address."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    sock.listen(5)
    return sock


def deaf_agent() -> socket.socket:
    """Return a bound UDP socket without a reader: no process spends time on the datagrams."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock
