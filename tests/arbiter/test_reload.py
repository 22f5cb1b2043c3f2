"""reload: new configs, applied by a fork or by the thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import Any

import pytest
from agent import StandInAgent

from gunicorn_backlog.arbiter import pipeline, reload
from gunicorn_backlog.config.settings import Settings, load
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.sampler import Sampler
from gunicorn_backlog.sampling.window import Sample
from tests.arbiter.conftest import Starting, fork
from tests.lab.fake_arbiter import Arbiter, Cfg, Worker
from tests.lab.pushes import next_pushes, pushes
from tests.lab.waiting import wait_for


def test_an_error_in_a_reload_is_logged_and_the_former_settings_stay(
    started: Starting,
    arbiter: Arbiter,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The fork and the thread continue; injected by patching, since no such error is known."""

    def fail(*_: object) -> None:
        raise RuntimeError("injected")

    started()
    with monkeypatch.context() as patch:
        patch.setattr(reload, "load", fail)
        arbiter.cfg = Cfg()
        fork()
        fork()
    assert set(next_pushes(agent, 1)[-1].values("gunicorn.backlog")) == {0}
    assert [r.getMessage().count("applying the new config") for r in caplog.records] == [1]


def test_a_new_config_is_applied_at_the_next_fork(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not earlier: until then gunicorn may still be applying the config."""
    started()
    next_pushes(agent, 1)
    arbiter.cfg = Cfg(dogstatsd_tags="color:blue")
    assert not next_pushes(agent, 2)[-1].all("gunicorn.workers", "color:blue")
    fork()
    assert next_pushes(agent, 2)[-1].all("gunicorn.workers", "color:blue")


def test_reloads_do_not_delay_the_push(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HUPs faster than the interval do not prolong the interval."""
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
    """One thread only while the resolver hangs; mocked."""
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
    monitor = started()
    for samples in (3, 6, 9):
        wait_for(
            "more samples",
            lambda samples=samples: len(monitor._pipeline._window._samples) >= samples,  # type: ignore[misc]
        )
        arbiter.cfg = Cfg()
        fork()
    wait_for("samples after the last reload", lambda: len(monitor._pipeline._window._samples) >= 12)
    go_on.set()
    assert len(asked) == 1


def test_nothing_old_is_pushed_after_a_pause(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disabled and enabled again: the first push has no samples and forks from before."""
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "1")
    monitor = started()
    wait_for("a few samples", lambda: len(monitor._pipeline._window._samples) >= 3)
    arbiter.worker_age = 100
    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "no")
    arbiter.cfg = Cfg()
    fork()
    wait_for("the thread to end", monitor._ended.is_set)
    assert agent.datagrams == []

    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "yes")
    arbiter.cfg = Cfg()
    arbiter.worker_age += 1  # as gunicorn does before the fork
    fork()
    arbiter.WORKERS = {**arbiter.WORKERS, 2: Worker(pid=2, age=101)}
    wait_for("a push", lambda: agent.datagrams)
    (push,) = pushes(agent)
    assert set(push.values("gunicorn.backlog")) == {0}
    assert push.values("gunicorn.workers.spawned") == (1,)
    assert push.workers == {"": 2}  # a worker that booted while disabled has no state


def test_a_new_config_without_a_fork(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no workers: the thread applies the config later, once."""
    monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 0.1)
    loaded: list[object] = []

    def counted(cfg: Any, values: dict[str, object]) -> Settings:
        loaded.append(cfg)
        return load(cfg, values)

    monkeypatch.setattr(reload, "load", counted)
    started()
    next_pushes(agent, 1)
    arbiter.cfg = Cfg(dogstatsd_tags="color:blue")
    wait_for("the new tag", lambda: next_pushes(agent, 1)[0].all("gunicorn.workers", "color:blue"))
    next_pushes(agent, 2)
    assert loaded[1:] == [arbiter.cfg]
    arbiter.cfg = Cfg(dogstatsd_tags="color:red")
    wait_for("the next tag", lambda: next_pushes(agent, 1)[0].all("gunicorn.workers", "color:red"))


def test_a_late_config_that_disables_it(
    started: Starting, arbiter: Arbiter, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread takes no further sample, and ends."""
    monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 0.1)
    sample, enabled = Sampler.sample, []

    def noted(sampler: Sampler, asked: Callable[[], Collection[int]]) -> Sample:
        enabled.append(monitor._pipeline.settings.enabled)
        return sample(sampler, asked)

    monitor = started()
    monkeypatch.setattr(Sampler, "sample", noted)
    next_pushes(agent, 1)
    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "false")
    arbiter.cfg = Cfg()
    wait_for("the end of the thread", monitor._ended.is_set)
    assert not monitor._pipeline.settings.enabled
    assert set(enabled) == {True}


def test_each_new_config_has_its_own_deadline(
    arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config is overdue by its own age, not by that of an earlier one; without a thread."""
    logger = OnceLogger(logging.getLogger("lab"))
    reloader = reload.Reloader(arbiter, pipeline.Pipeline(arbiter, logger), logger)
    reloader.load()
    assert not reloader.is_overdue()
    for _ in range(2):
        arbiter.cfg = Cfg()
        monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 1000.0)
        assert not reloader.is_overdue()
        arbiter.cfg = Cfg()
        assert reloader.reload(forked=0, restart=False)
        arbiter.cfg = Cfg()
        monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 0.0)
        assert reloader.is_overdue()
        assert reloader.reload(forked=0, restart=False)
        assert not reloader.is_overdue()


def test_a_second_config_does_not_inherit_the_deadline_of_the_first(
    arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn may still be applying the second one when the first would be overdue."""
    logger = OnceLogger(logging.getLogger("lab"))
    reloader = reload.Reloader(arbiter, pipeline.Pipeline(arbiter, logger), logger)
    reloader.load()
    monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 0.05)
    arbiter.cfg = Cfg()
    assert not reloader.is_overdue()
    wait_for("the first to be overdue", reloader.is_overdue)
    monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 1000.0)
    arbiter.cfg = Cfg()
    assert not reloader.is_overdue()


def test_a_late_config_with_an_invalid_setting(
    started: Starting,
    arbiter: Arbiter,
    agent: StandInAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line for any number of samples; the former settings stay in force."""
    monkeypatch.setattr(reload, "RELOAD_WITHOUT_FORK_S", 0.0)
    started()
    next_pushes(agent, 1)
    monkeypatch.setenv("GUNICORN_BACKLOG_SAMPLES", "0")
    arbiter.cfg = Cfg(dogstatsd_tags="color:blue")
    wait_for("a line", lambda: caplog.records)
    assert not next_pushes(agent, 2)[-1].all("gunicorn.workers", "color:blue")
    assert [r.getMessage().count("the former settings stay in force") for r in caplog.records] == [
        1
    ]
