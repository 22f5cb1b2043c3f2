"""hooks: what gunicorn finds when it takes the module for a config file."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys

import pytest

from gunicorn_backlog import hooks, watch
from gunicorn_backlog.configuring import Configured
from gunicorn_backlog.notices import Notices
from tests.lab.arbiter import Arbiter
from tests.lab.gunicorns import Gunicorn

HOOKS = {"when_ready": 1, "post_worker_init": 1, "on_exit": 1}


def test_no_name_but_the_hooks_is_a_setting(gunicorn: Gunicorn) -> None:
    """gunicorn applies every name of a config that is a setting's: ours must be three."""
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
def test_hooks_take_what_gunicorn_gives(name: str) -> None:
    """gunicorn counts a hook's arguments, those with defaults included."""
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
    assert not loaded & {"datadog", "requests", "gunicorn_backlog.monitor", "mmap"}


def test_hooks_without_a_start_do_nothing() -> None:
    """A worker or an exit without when_ready is no error: hooks may be left out."""
    hooks.post_worker_init(None)  # type: ignore[arg-type]  # it must not be looked at
    hooks.on_exit(None)  # type: ignore[arg-type]  # nor that


def test_no_error_of_ours_reaches_gunicorn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails inside is logged."""

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise OSError(f"no {name}")

    monkeypatch.setattr(hooks, "_monitor", Broken())
    hooks.post_worker_init(None)  # type: ignore[arg-type]
    hooks.on_exit(None)  # type: ignore[arg-type]
    monkeypatch.setattr(hooks, "_monitor", None)
    hooks.when_ready(Broken())  # type: ignore[arg-type]
    assert [r.getMessage().split(" failed")[0] for r in caplog.records] == [
        "gunicorn_backlog: watching this worker",
        "gunicorn_backlog: stopping",
        "gunicorn_backlog: starting",
    ]


def test_a_class_that_can_not_be_watched_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of its workers fails anew, and knows from the arbiter's word that it was told."""

    class Unwatched:
        def enter(self, worker: object) -> None:
            raise AttributeError("handle")

    notices = Notices(logging.getLogger("lab"))
    monkeypatch.setattr(hooks, "_notices", notices)
    monkeypatch.setattr(hooks, "_monitor", Unwatched())
    hooks.post_worker_init(None)  # type: ignore[arg-type]
    (record,) = caplog.records
    assert record.exc_info is not None
    caplog.clear()

    arbiters = Notices(logging.getLogger("lab"))
    arbiters.warn("unwatched", "a worker could not be watched, as its own line says")
    monkeypatch.setattr(hooks, "_notices", arbiters)
    for _ in range(2):
        hooks.post_worker_init(None)  # type: ignore[arg-type]
    assert [r.exc_info for r in caplog.records] == [None]


def test_the_monitor_and_the_hooks_say_things_once_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the arbiter's monitor said is known to the hooks in the workers forked from then on."""
    monkeypatch.setattr(hooks, "_monitor", None)
    monkeypatch.setattr(watch, "configured", Configured())
    monkeypatch.setenv("GUNICORN_BACKLOG_ENABLED", "no")
    hooks.when_ready(Arbiter())
    monitor = hooks._monitor
    assert monitor is not None
    assert monitor._watch._notices is hooks._notices


@pytest.mark.parametrize("collects", [True, False])
def test_what_it_imported_is_old_before_the_first_fork(*, collects: bool) -> None:
    """The next collections pass it over, and leave its pages shared; unless somebody wants none."""
    program = (
        "import gc\n"
        "from gunicorn_backlog import hooks\n"
        "from tests.lab.arbiter import Arbiter\n"
        f"collects = {collects}\n"
        "gc.enable() if collects else gc.disable()\n"
        "hooks.when_ready(Arbiter())\n"
        "from gunicorn_backlog.dogstatsd import Agent\n"
        "print(any(it is Agent for it in gc.get_objects(generation=2)))\n"
        "hooks.on_exit(None)\n"
    )
    environ = os.environ | {"GUNICORN_BACKLOG_URL": "unixgram:///nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.split() == [str(collects)]
