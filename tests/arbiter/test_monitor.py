"""monitor: the thread in this process, with an arbiter that the test makes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from agent import StandInAgent

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.arbiter import pipeline
from gunicorn_backlog.arbiter.monitor import Monitor
from gunicorn_backlog.config import configure
from gunicorn_backlog.config.agent_address import parse
from gunicorn_backlog.config.configure import Configured
from gunicorn_backlog.config.settings import Settings, load
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.client import AgentClient
from gunicorn_backlog.dogstatsd.reporter import Reporter
from gunicorn_backlog.dogstatsd.serializer import Client
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.metrics import points as metrics
from gunicorn_backlog.metrics.points import Point
from gunicorn_backlog.sampling.limits import Limits
from gunicorn_backlog.sampling.listeners import Listeners
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.window import Sample, Window
from gunicorn_backlog.sampling.worker_counts import WorkerCounter
from gunicorn_backlog.scoreboard.reader import Reader
from tests.lab.fake_arbiter import Arbiter, Cfg, Listener, Worker
from tests.lab.pushes import next_pushes, pushes
from tests.lab.waiting import wait_for

Starting = Callable[[], Monitor]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, agent: StandInAgent) -> None:
    monkeypatch.setattr(configure, "configured", Configured())
    monkeypatch.setattr(pipeline, "configured", configure.configured)
    monkeypatch.setenv("GUNICORN_BACKLOG_URL", agent.url)
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "0.1")


@pytest.fixture
def arbiter() -> Iterator[Arbiter]:
    """Return an arbiter with one listener, and one worker that never reports."""
    with socket.create_server(("127.0.0.1", 0), backlog=5) as sock:
        yield Arbiter([Listener(sock)], {1: Worker(pid=1, age=1)}, worker_age=1)


@pytest.fixture
def started(arbiter: Arbiter) -> Iterator[Starting]:
    """Return a function that starts a monitor; stopped at the end."""
    monitors: list[Monitor] = []

    def start() -> Monitor:
        monitors.append(Monitor(arbiter, OnceLogger(logging.getLogger("lab"))))
        monitors[-1].start()
        return monitors[-1]

    yield start
    for it in monitors:
        it.stop()
        wait_for("its thread to end", it._ended.is_set)
        if it._pipeline._reporter is not None:
            it._pipeline._reporter.close()


def test_pushes_until_it_is_stopped(started: Starting, agent: StandInAgent) -> None:
    """Pushes come at their interval; the last one says that the server goes; then none."""
    it = started()
    times = [push.at_s for push in next_pushes(agent, 10)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # The grid is fixed: what is late here and there does not add up.
    assert sum(gaps) == pytest.approx(0.9, abs=0.3)

    it.stop()
    wait_for("the thread to end", it._ended.is_set)
    wait_for("the last push", lambda: statuses(agent)[-1] == 2)
    assert statuses(agent).count(2) == 1


def statuses(agent: StandInAgent) -> list[float]:
    """Return the service check's status in all pushes so far."""
    return [push.values("gunicorn.is_running")[0] for push in pushes(agent)]


STAGES: dict[str, Sequence[tuple[object, str]]] = {
    "sampling": (
        (Sampler, "sample"),
        (Listeners, "read"),
        (Limits, "check"),
        (Reader, "read"),
        (WorkerCounter, "count"),
        (Window, "add"),
        (_gunicorn, "running"),
        (_gunicorn, "forked"),
    ),
    "counting drops": ((Listeners, "dropped"),),
    "adding up waits": ((Reader, "waits"),),
    "pushing": (
        (Window, "close"),
        (Reporter, "deliver"),
        (metrics, "points"),
        (AgentClient, "push"),
        (Client, "_report"),
    ),
}


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
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Injected by patching, for none is known: the thread survives any exception of ours."""
    started()
    next_pushes(agent, 1)
    raised = 0

    def fail(*_: object, **__: object) -> None:
        nonlocal raised
        raised += 1
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(where, method, fail)
        wait_for("errors", lambda: raised >= 2)

    assert set(next_pushes(agent, 2)[-1].values("gunicorn.backlog")) == {0}
    assert [r.getMessage().count(f"{what} failed") for r in caplog.records] == [1]


def test_an_error_before_the_first_sample_is_logged(
    started: Starting,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Injected by patching, for none is known: pushes come all the same."""

    def fail(_: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(Reporter, "prepare", fail)
    started()
    next_pushes(agent, 1)
    assert [r.getMessage().count("preparing failed") for r in caplog.records] == [1]


def test_no_signal_is_delivered_to_the_thread(started: Starting, agent: StandInAgent) -> None:
    """A signal that the thread took would not wake the arbiter: it blocks them all."""
    before = set(os.listdir("/proc/self/task"))
    started()
    next_pushes(agent, 1)
    (ours,) = set(os.listdir("/proc/self/task")) - before
    with open(f"/proc/self/task/{ours}/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("SigBlk:")]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2, signal.SIGALRM):
        assert mask & (1 << (number - 1))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def fork() -> None:
    """Fork, as the arbiter does for each worker."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def test_an_error_in_a_reload_is_logged_and_the_former_settings_stay(
    started: Starting,
    arbiter: Arbiter,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Injected by patching, for none is known: the fork goes on, and so does the thread."""

    def fail(*_: object) -> None:
        raise RuntimeError("injected")

    started()
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load", fail)
        arbiter.cfg = Cfg()
        fork()
        fork()
    assert set(next_pushes(agent, 1)[-1].values("gunicorn.backlog")) == {0}
    assert [r.getMessage().count("taking up the new config") for r in caplog.records] == [1]


def test_a_new_config_is_taken_up_with_the_next_fork(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: until then gunicorn may be in the middle of setting what it says."""
    started()
    next_pushes(agent, 1)
    arbiter.cfg = Cfg(dogstatsd_tags="color:blue")
    assert not next_pushes(agent, 2)[-1].all("gunicorn.workers", "color:blue")
    fork()
    assert next_pushes(agent, 2)[-1].all("gunicorn.workers", "color:blue")


def test_reloads_do_not_put_the_push_off(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HUPs that follow each other faster than an interval lasts: it ends when it would have."""
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "1")
    started()

    def reload() -> bool:
        arbiter.cfg = Cfg()
        fork()
        return len(agent.datagrams) >= 2

    wait_for("pushes", reload)


def test_a_name_is_not_looked_up_for_each_reload(
    started: Starting, arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a thread started for it each time, while a resolver hangs; mocked."""
    asked: list[object] = []
    go_on = threading.Event()

    def resolve(address: object) -> agent_socket.Target:
        asked.append(address)
        go_on.wait(30)
        raise OSError("gave up")

    monkeypatch.setattr(agent_socket, "resolve", resolve)
    monkeypatch.setenv("GUNICORN_BACKLOG_URL", "udp://agent.example:8125")
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "10")
    monkeypatch.setenv("GUNICORN_BACKLOG_SAMPLES", "100")
    it = started()
    for samples in (3, 6, 9):
        wait_for(
            "it to go on",
            lambda samples=samples: len(it._pipeline._window._samples) >= samples,  # type: ignore[misc]
        )
        arbiter.cfg = Cfg()
        fork()
    wait_for("it to take up the last", lambda: len(it._pipeline._window._samples) >= 12)
    go_on.set()
    assert len(asked) == 1


def test_nothing_old_is_pushed_after_a_pause(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disabled and enabled again: no sample and no fork of before is in the first push."""
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "1")
    it = started()
    wait_for("a few samples", lambda: len(it._pipeline._window._samples) >= 3)
    arbiter.worker_age = 100
    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "no")
    arbiter.cfg = Cfg()
    fork()
    wait_for("the thread to end", it._ended.is_set)
    assert agent.datagrams == []

    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "yes")
    arbiter.cfg = Cfg()
    arbiter.worker_age += 1  # as gunicorn does it, before the fork
    fork()
    wait_for("a push", lambda: agent.datagrams)
    (push,) = pushes(agent)
    assert set(push.values("gunicorn.backlog")) == {0}
    assert push.values("gunicorn.workers.spawned") == (1,)
    assert push.workers == {"": 1}  # it came up when nobody watched: nobody knows what it does


def test_a_name_is_looked_up_where_no_signal_is_taken(
    started: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the arbiter's thread, nor in one that it started with its signals open; mocked."""
    masks: list[set[int]] = []

    def resolve(_: object) -> agent_socket.Target:
        masks.append({int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])})
        raise OSError("no answer")

    monkeypatch.setattr(agent_socket, "resolve", resolve)
    monkeypatch.setenv("GUNICORN_BACKLOG_URL", "udp://agent.example:8125")
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "60")
    started()
    wait_for("a look-up, long before the first push", lambda: masks)
    assert masks[0] >= {int(signal.SIGTERM), int(signal.SIGCHLD), int(signal.SIGHUP)}


def test_a_resolver_that_hangs_holds_up_nothing(
    started: Starting, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mocked, for we have no name server that hangs: samples, forks, and the end go on."""
    hangs, go_on = threading.Event(), threading.Event()

    def resolve(_: object) -> agent_socket.Target:
        hangs.set()
        go_on.wait(30)
        raise OSError("gave up")

    monkeypatch.setattr(agent_socket, "resolve", resolve)
    monkeypatch.setenv("GUNICORN_BACKLOG_URL", "udp://agent.example:8125")
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "1")
    it = started()
    assert hangs.wait(20)
    for _ in range(2):
        wait_for("a few samples", lambda: len(it._pipeline._window._samples) >= 3)
        wait_for("the next interval", lambda: len(it._pipeline._window._samples) < 3)

    began_s = time.monotonic()
    fork()
    it.stop()
    took_s = time.monotonic() - began_s
    go_on.set()
    assert took_s < 5  # far below the 30 s of the resolver, far above what we may take


@pytest.mark.parametrize(("url", "waits"), [("udp://agent.example:8125", True), (None, False)])
def test_a_fork_waits_for_look_ups_if_there_are_any(
    started: Starting, monkeypatch: pytest.MonkeyPatch, url: str | None, *, waits: bool
) -> None:
    """Else nothing of theirs is touched, for a fork is longer with each page that is; mocked."""
    if url is not None:
        monkeypatch.setenv("GUNICORN_BACKLOG_URL", url)
        found = agent_socket.Target(socket.AF_INET, ("127.0.0.1", 9))
        monkeypatch.setattr(agent_socket, "resolve", lambda _: found)
    it = started()
    asked: list[float] = []
    monkeypatch.setattr(it._pipeline, "before_fork", asked.append)
    fork()
    assert bool(asked) is waits


def test_a_fork_after_the_end_waits_for_nobody(
    started: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last push may hang; the gate, that it holds, is not asked for."""
    it = started()
    asked: list[bool] = []
    it.stop()
    monkeypatch.setattr(it._gate, "before_fork", lambda: asked.append(True))
    fork()
    assert asked == []


def test_a_child_has_nothing_of_the_thread(started: Starting, agent: StandInAgent) -> None:
    """After a fork the child has one thread and no socket to the Agent, and may fork itself."""
    it = started()
    next_pushes(agent, 1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        sockets = [fd for fd in os.listdir("/proc/self/fd") if _is_udp_client(int(fd), agent)]
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0)
        os.waitpid(grandchild, 0)
        it.stop()
        os.write(write, f"{len(os.listdir('/proc/self/task'))} {len(sockets)}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"1 0"
    os.close(read)
    os.close(write)
    assert next_pushes(agent, 1)


def _is_udp_client(fd: int, agent: StandInAgent) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            return str(sock.getpeername()[1]) == agent.url.rpartition(":")[2]
    except (OSError, IndexError):
        return False


def test_without_shared_memory_workers_are_counted(
    started: Starting, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backlogs and the number of workers are sent; mocked, for memory can't be taken away."""

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
    """However long it is away, and however often a push fails."""
    failed: list[str] = []
    push = AgentClient.push

    def counted(it: AgentClient, points: list[Point]) -> None:
        push(it, points)
        failed.extend([it.error] if it.error else [])

    monkeypatch.setattr(AgentClient, "push", counted)
    caplog.set_level(logging.INFO, logger="lab")
    started()
    next_pushes(agent, 1)
    agent.stop()
    wait_for("the first line", lambda: "does not take metrics: ECONNREFUSED" in caplog.text)
    wait_for("more failures", lambda: len(failed) >= 5)
    with StandInAgent(parse(agent.url)) as again:
        next_pushes(again, 4)
        wait_for("the second line", lambda: "takes metrics again" in caplog.text)
    assert len(caplog.records) == 3  # the first is the one of the start


@pytest.mark.parametrize(("where", "method"), [(Listeners, "dropped"), (Reader, "waits")])
def test_what_fails_for_ever_keeps_no_push_back(
    where: object,
    method: str,
    started: Starting,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Injected by patching: all else is sent, of each interval its own samples and no others."""
    it = started()

    def fail(*_: object) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(where, method, fail)
        told = next_pushes(agent, 3)
        for push in told:
            assert len(push.values("gunicorn.backlog")) <= it._pipeline.settings.samples
            assert push.values("gunicorn.is_running") == (0,)
            assert bool(push.all("gunicorn.backlog.dropped")) == (method != "dropped")


def test_a_new_config_that_no_fork_takes_up(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no workers any more: the thread takes it up in the end, once."""
    monkeypatch.setattr(pipeline, "RELOAD_WITHOUT_FORK_S", 0.1)
    loaded: list[object] = []

    def counted(cfg: Any, values: dict[str, object]) -> Settings:
        loaded.append(cfg)
        return load(cfg, values)

    monkeypatch.setattr(pipeline, "load", counted)
    started()
    next_pushes(agent, 1)
    arbiter.cfg = Cfg(dogstatsd_tags="color:blue")
    wait_for("it", lambda: next_pushes(agent, 1)[0].all("gunicorn.workers", "color:blue"))
    next_pushes(agent, 2)
    assert loaded[1:] == [arbiter.cfg]
    arbiter.cfg = Cfg(dogstatsd_tags="color:red")
    wait_for("the next", lambda: next_pushes(agent, 1)[0].all("gunicorn.workers", "color:red"))


def test_a_late_config_that_disables_it(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on nothing is sampled, and the thread ends."""
    monkeypatch.setattr(pipeline, "RELOAD_WITHOUT_FORK_S", 0.1)
    sample, enabled = Sampler.sample, []

    def noted(sampler: Sampler) -> Sample:
        enabled.append(it._pipeline.settings.enabled)
        return sample(sampler)

    it = started()
    monkeypatch.setattr(Sampler, "sample", noted)
    next_pushes(agent, 1)
    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "false")
    arbiter.cfg = Cfg()
    wait_for("its end", it._ended.is_set)
    assert not it._pipeline.settings.enabled
    assert set(enabled) == {True}


def test_each_new_config_has_its_time(arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is late when nobody took it up, however late another was before it; without a thread."""
    it = pipeline.Pipeline(arbiter, OnceLogger(logging.getLogger("lab")))
    it.load()
    assert not it.reload_overdue()
    for _ in range(2):
        arbiter.cfg = Cfg()
        monkeypatch.setattr(pipeline, "RELOAD_WITHOUT_FORK_S", 1000.0)
        assert not it.reload_overdue()
        arbiter.cfg = Cfg()
        assert it.reload_settings() is not None
        arbiter.cfg = Cfg()
        monkeypatch.setattr(pipeline, "RELOAD_WITHOUT_FORK_S", 0.0)
        assert it.reload_overdue()
        assert it.reload_settings() is not None
        assert not it.reload_overdue()


def test_a_late_config_that_can_not_be_used(
    started: Starting,
    arbiter: Arbiter,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line, however often the thread looks; the former settings stay in force."""
    monkeypatch.setattr(pipeline, "RELOAD_WITHOUT_FORK_S", 0.0)
    started()
    next_pushes(agent, 1)
    monkeypatch.setenv("GUNICORN_BACKLOG_SAMPLES", "0")
    arbiter.cfg = Cfg(dogstatsd_tags="color:blue")
    wait_for("a line", lambda: caplog.records)
    assert not next_pushes(agent, 2)[-1].all("gunicorn.workers", "color:blue")
    assert [r.getMessage().count("the former settings stay in force") for r in caplog.records] == [
        1
    ]


@pytest.mark.parametrize("raises_at", [1, 2])
def test_a_signal_handler_that_raises_leaves_no_signal_blocked(
    raises_at: int, started: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn 20's does: Python runs it where the mask is set; mocked, for the moment is short."""

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
