"""monitor: the thread, its errors and its log lines."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest
from agent import StandInAgent

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.arbiter import pipeline
from gunicorn_backlog.arbiter.exits import Exits
from gunicorn_backlog.config.agent_address import parse
from gunicorn_backlog.dogstatsd import reporter
from gunicorn_backlog.dogstatsd.client import AgentClient
from gunicorn_backlog.dogstatsd.reporter import Reporter
from gunicorn_backlog.dogstatsd.serializer import Serializer
from gunicorn_backlog.metrics.catalog import EXITED
from gunicorn_backlog.metrics.points import Point
from gunicorn_backlog.sampling.limits import Limits
from gunicorn_backlog.sampling.listeners import Listeners
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.window import Window
from gunicorn_backlog.sampling.worker_counts import WorkerCounter
from gunicorn_backlog.scoreboard.reader import Reader
from tests.arbiter.conftest import Starting
from tests.lab.fake_arbiter import Arbiter, Worker
from tests.lab.pushes import next_pushes, pushes
from tests.lab.waiting import wait_for


def test_pushes_until_it_is_stopped(started: Starting, agent: StandInAgent) -> None:
    """Pushes keep their interval; the last one is CRITICAL; then none."""
    monitor = started()
    times = [push.at_s for push in next_pushes(agent, 10)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # The grid is fixed: what is late here and there does not add up.
    assert sum(gaps) == pytest.approx(0.9, abs=0.3)

    monitor.stop()
    wait_for("the thread to end", monitor._ended.is_set)
    wait_for("the last push", lambda: statuses(agent)[-1] == 2)
    assert statuses(agent).count(2) == 1


def statuses(agent: StandInAgent) -> list[float]:
    """Return the status of the service check in all pushes so far."""
    return [push.values("gunicorn.is_running")[0] for push in pushes(agent)]


def test_lost_connections_during_a_shutdown(
    started: Starting, arbiter: Arbiter, agent: StandInAgent
) -> None:
    """0 while a worker has the socket; the last push is without, as the worker may reset more."""
    monitor = started()
    next_pushes(agent, 1)
    arbiter.LISTENERS = []
    next_pushes(agent, 1)
    (push,) = next_pushes(agent, 1)
    assert push.values("gunicorn.backlog.lost") == (0,)
    monitor.stop()
    wait_for("the last push", lambda: statuses(agent)[-1] == 2)
    assert pushes(agent)[-1].all("gunicorn.backlog.lost") == []


STAGES: dict[str, Sequence[tuple[object, str]]] = {
    "sampling": (
        (Sampler, "sample"),
        (Listeners, "read"),
        (Limits, "check"),
        (Reader, "read"),
        (WorkerCounter, "count"),
        (Window, "add"),
        (_gunicorn, "worker_ages"),
    ),
    "counting drops": ((Listeners, "dropped"),),
    "counting exits": ((Exits, "take"),),
    "summing the waits": ((Reader, "waits"),),
    "pushing": (
        (Window, "close"),
        (Reporter, "deliver"),
        (reporter, "interval_points"),
        (AgentClient, "push"),
        (Serializer, "_report"),
    ),
}


@contextmanager
def failing(where: object, method: str) -> Iterator[list[str]]:
    """Make a method of ours raise within the context; yield a list with an item for each call."""
    calls: list[str] = []

    def fail(*_: object, **__: object) -> None:
        calls.append(method)
        raise RuntimeError("injected")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, method, fail)
        yield calls


@pytest.mark.parametrize(
    ("where", "method", "what"),
    [(*stage, what) for what, stages in STAGES.items() for stage in stages],
)
def test_an_error_in_any_stage_is_logged_once_and_the_next_interval_works(
    where: object,
    method: str,
    what: str,
    started: Starting,
    agent: StandInAgent,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread survives any exception of ours; injected by patching, since none is known."""
    started()
    next_pushes(agent, 1)
    with failing(where, method) as errors:
        wait_for("errors", lambda: len(errors) >= 2)

    assert set(next_pushes(agent, 2)[-1].values("gunicorn.backlog")) == {0}
    assert [r.getMessage().count(f"{what} failed") for r in caplog.records] == [1]


def test_exits_of_an_interval_without_a_sample_are_in_the_next_push(
    started: Starting, arbiter: Arbiter, agent: StandInAgent
) -> None:
    """A worker that lived between two samples counts; injected by patching, as above."""
    started()
    next_pushes(agent, 1)
    with failing(Sampler, "sample") as errors:
        wait_for("an interval without a sample", lambda: len(errors) >= 20)
        former, arbiter.WORKERS = arbiter.WORKERS, {**arbiter.WORKERS, 2: Worker(2, 2)}
        arbiter.reap_workers()  # records the new worker
        arbiter.WORKERS = former
        errors.clear()
        wait_for("two more", lambda: len(errors) >= 30)
    seen = len(pushes(agent))
    wait_for("a push", lambda: len(pushes(agent)) >= seen + 3)
    exited = [line.values[0] for push in pushes(agent) for line in push.all(EXITED.name)]
    assert sum(exited) == 1


def test_an_error_before_the_first_sample_is_logged(
    started: Starting,
    agent: StandInAgent,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Pushes come nevertheless; injected by patching, since no such error is known."""
    with failing(AgentClient, "prepare"):
        started()
        next_pushes(agent, 1)
    assert [r.getMessage().count("preparing the first push failed") for r in caplog.records] == [1]


def test_no_signal_is_delivered_to_the_thread(started: Starting, agent: StandInAgent) -> None:
    """The thread blocks all signals: one delivered there would not wake the arbiter."""
    before = set(os.listdir("/proc/self/task"))
    started()
    next_pushes(agent, 1)
    (ours,) = set(os.listdir("/proc/self/task")) - before
    with open(f"/proc/self/task/{ours}/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("SigBlk:")]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2, signal.SIGALRM):
        assert mask & (1 << (number - 1))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_without_shared_memory_workers_are_counted(
    started: Starting, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backlogs and the number of workers are sent; the missing memory is mocked."""

    def refuse() -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(pipeline, "Scoreboard", refuse)
    started()
    (push,) = next_pushes(agent, 1)
    assert push.workers == {"": 1}
    assert set(push.values("gunicorn.backlog")) == {0}


def test_one_line_when_the_agent_goes_and_one_when_it_is_back(
    started: Starting,
    agent: StandInAgent,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For any duration of the outage and any number of failed pushes."""
    failed: list[str] = []
    push = AgentClient.push

    def counted(client: AgentClient, points: list[Point]) -> None:
        push(client, points)
        failed.extend([client.error] if client.error else [])

    monkeypatch.setattr(AgentClient, "push", counted)
    caplog.set_level(logging.INFO, logger="lab")
    started()
    next_pushes(agent, 1)
    agent.stop()
    wait_for("the first line", lambda: "does not accept metrics: ECONNREFUSED" in caplog.text)
    wait_for("more failures", lambda: len(failed) >= 5)
    with StandInAgent(parse(agent.url)) as again:
        next_pushes(again, 4)
        wait_for("the second line", lambda: "accepts metrics again" in caplog.text)
    assert len(caplog.records) == 3  # the first is the startup line


@pytest.mark.parametrize(("where", "method"), [(Listeners, "dropped"), (Reader, "waits")])
def test_a_permanent_error_delays_no_push(
    where: object,
    method: str,
    started: Starting,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All other numbers are sent, from the samples of their interval only; injected by patching."""
    monitor = started()

    def fail(*_: object) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(where, method, fail)
        received = next_pushes(agent, 3)
        for push in received:
            assert len(push.values("gunicorn.backlog")) <= monitor._pipeline.settings.samples
            assert push.values("gunicorn.is_running") == (0,)
            assert bool(push.all("gunicorn.backlog.dropped")) == (method != "dropped")


@pytest.mark.parametrize("raises_at", [1, 2])
def test_a_signal_handler_that_raises_leaves_no_signal_blocked(
    raises_at: int, started: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn 20's handler may raise where the mask is set; mocked, since the moment is short."""

    class Halt(BaseException):
        pass

    set_mask, calls = signal.pthread_sigmask, 0

    def interrupted(how: int, mask: Iterable[int]) -> object:
        nonlocal calls
        former = set_mask(how, mask)
        calls += 1
        if calls == raises_at:
            raise Halt
        return former

    before = set_mask(signal.SIG_BLOCK, ())
    with monkeypatch.context() as patch:
        patch.setattr(signal, "pthread_sigmask", interrupted)
        with pytest.raises(Halt):
            started()
    after = set_mask(signal.SIG_SETMASK, before)
    assert after == before
