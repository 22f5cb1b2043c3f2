"""short_thread: when it returned, and when nothing of it is left."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gunicorn_backlog._threads import one_shot
from gunicorn_backlog._threads.one_shot import OneShotThread

TASKS = Path("/proc/self/task")


def test_nothing_of_it_is_left_after_the_wait() -> None:
    """Not even what the kernel has of it: a fork may follow at once."""
    tasks = set(TASKS.iterdir())
    for _ in range(200):
        thread = OneShotThread(lambda: None)
        assert thread.wait(20)
        assert thread.returned
        assert set(TASKS.iterdir()) <= tasks


def test_a_wait_has_an_end() -> None:
    """It tells that the thread goes on; and later, that it is over."""
    go_on = threading.Event()
    thread = OneShotThread(lambda: go_on.wait(20))
    assert not thread.wait(0.01)
    assert not thread.returned
    go_on.set()
    assert thread.wait(20)


def test_a_thread_that_does_not_come_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returned, but the kernel still has it: the wait has an end; a path that stays, for one."""
    thread = OneShotThread(lambda: None)
    assert thread.wait(20)
    monkeypatch.setattr(thread, "_task", "/proc/self")
    monkeypatch.setattr(one_shot, "_PAUSE_S", 0.001)
    assert not thread.wait(0.01)
