"""hooks: the module as a config of gunicorn, and the three hooks with a fake arbiter."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from gunicorn.config import Config

from gunicorn_backlog import hooks
from gunicorn_backlog.arbiter import reload
from gunicorn_backlog.config.configure import Configured
from gunicorn_backlog.log import OnceLogger
from tests.lab.fake_arbiter import Arbiter, Worker
from tests.lab.gunicorn_versions import Gunicorn

HOOKS = {"when_ready": 1, "post_worker_init": 1, "on_exit": 1}


def test_no_name_but_the_hooks_is_a_setting(gunicorn: Gunicorn) -> None:
    """gunicorn applies each name of a config that is a setting's: only three of ours may be."""
    program = (
        "from gunicorn.config import KNOWN_SETTINGS\n"
        "from gunicorn_backlog import hooks\n"
        "print(*sorted({s.name for s in KNOWN_SETTINGS} & set(vars(hooks))))\n"
        "print(*sorted(hooks.__all__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=gunicorn.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [" ".join(sorted(HOOKS))] * 2


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_take_the_arguments_that_gunicorn_passes(name: str) -> None:
    """gunicorn counts a hook's arguments, including those with defaults."""
    assert len(inspect.signature(getattr(hooks, name)).parameters) == HOOKS[name]


def test_importing_the_hooks_is_light() -> None:
    """Neither datadog nor the monitor is imported while gunicorn reads its config."""
    program = "import sys, gunicorn_backlog.hooks as h; print(*sys.modules)"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COV_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    loaded = set(done.stdout.split())
    assert "gunicorn_backlog.hooks" in loaded
    assert not loaded & {"datadog", "requests", "gunicorn_backlog.arbiter.monitor", "mmap"}


@pytest.mark.parametrize(("age", "forks", "lines"), [(1, 5, 1), (7, 1, 1), (2, 2, 0)])
def test_only_the_first_worker_warns_of_a_when_ready_that_was_not_called(
    age: int,
    forks: int,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first worker of all, or the first since a reload added the hooks; an exit never warns."""
    monkeypatch.setattr(hooks, "_monitor", None)
    monkeypatch.setattr(hooks, "_was_ready", False)
    monkeypatch.setattr(hooks, "_forks", forks)
    monkeypatch.setattr(hooks, "_logger", OnceLogger())
    hooks.post_worker_init(Worker(os.getpid(), age))
    hooks.on_exit(Arbiter())
    assert len(caplog.records) == lines


def test_no_error_of_ours_reaches_gunicorn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each error inside a hook is logged with its traceback."""

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise OSError(f"no {name}")

    monkeypatch.setattr(hooks, "_monitor", Broken())
    hooks.post_worker_init(None)  # type: ignore[arg-type]
    hooks.on_exit(None)  # type: ignore[arg-type]
    monkeypatch.setattr(hooks, "_monitor", None)
    monkeypatch.setattr(hooks, "_was_ready", False)
    monkeypatch.setattr(hooks, "_logger", OnceLogger())
    hooks.when_ready(Broken())  # type: ignore[arg-type]
    assert [r.getMessage().split(" failed")[0] for r in caplog.records] == [
        "gunicorn_backlog: instrumenting this worker",
        "gunicorn_backlog: stopping",
        "gunicorn_backlog: starting",
    ]


def test_a_class_that_cannot_be_instrumented_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each worker of the class fails. None logs an error after the arbiter logged a warning."""

    class Uninstrumentable:
        def instrument_worker(self, worker: object) -> None:
            raise AttributeError("handle")

    logger = OnceLogger(logging.getLogger("lab"))
    monkeypatch.setattr(hooks, "_logger", logger)
    monkeypatch.setattr(hooks, "_monitor", Uninstrumentable())
    hooks.post_worker_init(None)  # type: ignore[arg-type]
    (record,) = caplog.records
    assert record.exc_info is not None
    caplog.clear()

    arbiter_logger = OnceLogger(logging.getLogger("lab"))
    arbiter_logger.warn("not instrumented", "a worker could not be instrumented")
    monkeypatch.setattr(hooks, "_logger", arbiter_logger)
    for _ in range(2):
        hooks.post_worker_init(None)  # type: ignore[arg-type]
    assert [r.exc_info for r in caplog.records] == [None]


def test_the_monitor_and_the_hooks_share_a_logger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line of the arbiter's monitor is not repeated by the hooks of later workers."""
    monkeypatch.setattr(hooks, "_monitor", None)
    monkeypatch.setattr(hooks, "_was_ready", False)
    monkeypatch.setattr(reload, "configured", Configured())
    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "no")
    hooks.when_ready(Arbiter())
    monitor = hooks._monitor
    assert monitor is not None
    assert monitor._logger is hooks._logger


NAMES = list(HOOKS)


@pytest.mark.parametrize("name", NAMES)
def test_install_adds_ours_where_there_is_none(name: str) -> None:
    """Our hook is added to an empty mapping and replaces None; a second call changes nothing."""
    for mapping in ({}, {name: None}):
        assert hooks.install(mapping) is mapping
        assert mapping == {hook: getattr(hooks, hook) for hook in NAMES}
        assert hooks.install(dict(mapping)) == mapping


def test_install_keeps_an_existing_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing hook runs first, and gunicorn counts its arguments."""
    calls: list[str] = []

    def own(server: object, more: object = None) -> None:
        calls.append("own")

    monkeypatch.setattr(hooks, "_was_ready", True)
    settings: dict[str, Any] = {"when_ready": own, "bind": "x"}
    installed = hooks.install(settings)
    again = hooks.install(dict(installed))
    assert installed == again
    assert installed["bind"] == "x"
    assert inspect.signature(installed["when_ready"]) == inspect.signature(own)
    installed["when_ready"](None)
    assert calls == ["own"]


class Untidy:
    """A hook."""

    def __init__(self, called: list[object]) -> None:
        self.called = called

    def __call__(self, server: object) -> None:
        """Record the call."""
        self.called.append(server)


class Raising(Untidy):
    """A hook."""

    def __getattr__(self, name: str) -> object:
        """Raise an error other than AttributeError for our mark."""
        raise OSError(name) if "backlog" in name else AttributeError(name)


@pytest.mark.parametrize("attribute", ["__name__", "__qualname__", "__annotations__"])
@pytest.mark.parametrize("kind", [Untidy, Raising])
def test_install_keeps_a_callable_object(
    kind: type[Untidy], attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn accepts an object whose name is not a string: install() wraps that object."""
    called: list[object] = []
    own = kind(called)
    setattr(own, attribute, 7)
    monkeypatch.setattr(hooks, "_was_ready", True)
    config = Config()
    config.set("when_ready", own)
    config.set("when_ready", hooks.install({"when_ready": own})["when_ready"])
    config.when_ready("server")
    assert called == ["server"]
    assert config.when_ready.__doc__ == "A hook."


def test_install_runs_our_on_exit_after_an_own_one_that_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exception of the own hook reaches gunicorn after the last push."""
    stopped: list[str] = []

    class Stopping:
        def stop(self) -> None:
            stopped.append("ours")

    def own(server: object) -> None:
        raise KeyError("own")

    monkeypatch.setattr(hooks, "_monitor", Stopping())
    with pytest.raises(KeyError, match="own"):
        hooks.install({"on_exit": own})["on_exit"](None)
    assert stopped == ["ours"]


@pytest.mark.parametrize("value", [7, "no", "no.such", object(), []])
def test_install_keeps_a_value_that_gunicorn_refuses(value: object) -> None:
    """gunicorn reports the error."""
    assert hooks.install({"when_ready": value})["when_ready"] is value


@pytest.mark.parametrize("collects", [True, False])
def test_imported_objects_are_old_before_the_first_fork(*, collects: bool) -> None:
    """Later collections skip these objects and keep their pages shared, unless gc is disabled."""
    program = (
        "import gc\n"
        "from gunicorn_backlog import hooks\n"
        "from tests.lab.fake_arbiter import Arbiter\n"
        f"collects = {collects}\n"
        "gc.enable() if collects else gc.disable()\n"
        "hooks.when_ready(Arbiter())\n"
        "from gunicorn_backlog.dogstatsd.client import AgentClient\n"
        "print(any(obj is AgentClient for obj in gc.get_objects(generation=2)))\n"
        "hooks.on_exit(None)\n"
    )
    environ = os.environ | {"GUNICORN_BACKLOG_URL": "unixgram:///nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.split() == [str(collects)]
