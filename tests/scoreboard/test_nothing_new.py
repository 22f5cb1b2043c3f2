"""What a sample takes over from the one before is what it would find itself."""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Sequence
from unittest import mock

from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from gunicorn_backlog._gunicorn import worker_ages
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.utilization import Utilization
from gunicorn_backlog.scoreboard import allocation
from gunicorn_backlog.scoreboard.layout import SLOTS_AT
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import LINE_SIZE, Kind, Slot, SlotRecord
from gunicorn_backlog.scoreboard.states import States
from tests.lab.fake_arbiter import Arbiter, Cfg, Worker

PIDS = st.integers(1, 6)
NUMBERS = st.integers(-5, 5)
THREADS_AT = 56  # of a slot


class Strange:
    """A worker class that nobody knows."""


class Server(RuleBasedStateMachine):
    """An arbiter's workers come, go, claim and write; a sample of all is taken now and then."""

    def __init__(self) -> None:
        """Begin with no workers."""
        super().__init__()
        self.workers: dict[int, Worker] = {}
        self.slots: dict[int, Slot] = {}
        self.arbiter = Arbiter([], self.workers)
        self.scoreboard = Scoreboard(slots=12, thread_rows=40)
        self.sampler = sampler_of(self.arbiter, self.scoreboard)
        self.now_ns = 0
        self.work = [Utilization(clock_ns=lambda: self.now_ns) for _ in range(2)]

    @rule(pid=PIDS)
    def fork(self, pid: int) -> None:
        """Another worker, perhaps with a pid that an earlier one had."""
        self.slots.pop(pid, None)
        self.arbiter.worker_age += 1
        self.workers[pid] = Worker(pid, self.arbiter.worker_age)

    @rule(pid=PIDS)
    def die(self, pid: int) -> None:
        """One less."""
        self.workers.pop(pid, None)
        self.slots.pop(pid, None)

    @rule(pid=PIDS, kind=st.sampled_from(list(Kind)), threads=st.integers(1, 9))
    def claim(self, pid: int, kind: Kind, threads: int) -> None:
        """Whether a process is dead is the arbiter's word here, for there are none: a mock."""
        capacity = {Kind.SYNC: 1, Kind.GTHREAD: threads}.get(kind, 0)
        if pid in self.workers:
            age = self.workers[pid].age
            with mock.patch.object(allocation, "dead", self._dead):
                self.slots[pid] = self.scoreboard.claim(pid, age, kind, capacity)

    def _dead(self, claimed: Collection[SlotRecord]) -> set[tuple[int, int]]:
        ages = worker_ages(self.arbiter)
        return {(line.pid, line.age) for line in claimed if ages.get(line.pid) != line.age}

    @rule(pid=PIDS, word=st.integers(0, 3), number=NUMBERS)
    def write(self, pid: int, word: int, number: int) -> None:
        """A worker writes into its record."""
        if pid in self.slots:
            self.slots[pid].words[word] = number

    @rule(pid=PIDS, thread=st.integers(0, 8), word=st.integers(0, 2), number=NUMBERS)
    def write_of_thread(self, pid: int, thread: int, word: int, number: int) -> None:
        """A thread of a pool's writes into its own."""
        threads = self.slots[pid].threads if pid in self.slots else []
        if threads:
            threads[thread % len(threads)].words[word] = number

    @rule(slot=st.integers(0, 11), line=st.sampled_from([0, 3, 6, 2**32 - 1]))
    def run_amok(self, slot: int, line: int) -> None:
        """Somebody writes where a pool has its threads."""
        at = SLOTS_AT + slot * LINE_SIZE + THREADS_AT
        struct.pack_into("=I", self.scoreboard._memory, at, line)

    @rule(worker_class=st.sampled_from([SyncWorker, ThreadWorker, AsyncWorker, Strange]))
    def reload(self, worker_class: type) -> None:
        """A HUP: another class from now on."""
        self.arbiter.worker_class, self.arbiter.cfg = worker_class, Cfg()

    @rule()
    def begin(self) -> None:
        """Whoever is there came up when nobody watched."""
        self.sampler.begin(self.arbiter.worker_age)

    @rule(times=st.integers(1, 3))
    def sample(self, times: int) -> None:
        """All is as a reader and a sampler find it that were never there before."""
        for _ in range(times):
            self.now_ns += 3
            ages = worker_ages(self.arbiter)
            states, fresh = self.scoreboard.reader.read(ages), self._fresh_reader().read(ages)
            assert plain(states) == plain(fresh)
            assert self.scoreboard.reader.read(ages) is states
            crew = self.sampler.sample().crew
            if not states.unread:
                assert crew == self._fresh_sampler().sample().crew
                assert self.work[0].look(states) == self.work[1].look(fresh)

    def _fresh_reader(self) -> Reader:
        return Reader(self.scoreboard._memory, self.scoreboard._layout)

    def _fresh_sampler(self) -> Sampler:
        scoreboard = mock.Mock(reader=self._fresh_reader())  # with this reader, and no more
        sampler = sampler_of(self.arbiter, scoreboard)
        sampler._watched_after = self.sampler._watched_after
        return sampler


def sampler_of(arbiter: Arbiter, scoreboard: Scoreboard) -> Sampler:
    """Return a sampler whose notices nobody reads."""
    logger = logging.Logger("unread")
    logger.addHandler(logging.NullHandler())
    return Sampler(arbiter, scoreboard, OnceLogger(logger))


def plain(states: States) -> list[list[object]]:
    """Return all of it as lists."""
    columns = [*states.owners, *states.columns, states.unread]
    return [list(it) if isinstance(it, Sequence) else [it] for it in columns]


TestServer = Server.TestCase
TestServer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
