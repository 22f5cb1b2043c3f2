"""one_shot: the return of the function, and the end of the OS thread."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from gunicorn_backlog._threads import one_shot
from gunicorn_backlog._threads.one_shot import OneShotThread

TASKS = Path("/proc/self/task")


def test_the_os_thread_is_over_after_the_wait() -> None:
    """The kernel no longer lists the thread: a fork may follow at once."""
    tasks = set(TASKS.iterdir())
    for _ in range(200):
        thread = OneShotThread(lambda: None)
        assert thread.wait(20)
        assert thread.returned
        assert set(TASKS.iterdir()) <= tasks


def test_a_wait_ends_after_its_timeout() -> None:
    """The wait returns False while the thread runs, and True afterwards."""
    go_on = threading.Event()
    thread = OneShotThread(lambda: go_on.wait(20))
    assert not thread.wait(0.01)
    assert not thread.returned
    go_on.set()
    assert thread.wait(20)


def test_a_thread_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lists the thread after its function returned: the wait ends; simulated."""
    thread = OneShotThread(lambda: None)
    assert thread.wait(20)
    monkeypatch.setattr(thread, "_task", "/proc/self")
    monkeypatch.setattr(one_shot, "_PAUSE_S", 0.001)
    assert not thread.wait(0.01)


def test_a_thread_that_computes_is_waited_for() -> None:
    """It may hold a lock of the C library; here it computes without Python's lock."""
    thread = OneShotThread(lambda: hashlib.pbkdf2_hmac("sha512", b"a", b"b", 300_000))
    thread.wait_until_asleep(30)
    assert thread.returned


def test_a_thread_that_sleeps_is_not_waited_for() -> None:
    """It waits for a name server, and holds no lock."""
    go_on = threading.Event()
    thread = OneShotThread(lambda: go_on.wait(30))
    thread.wait_until_asleep(30)
    assert not thread.returned
    go_on.set()
    assert thread.wait(30)
    thread.wait_until_asleep(30)


def test_only_a_new_sleep_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sleep that a wait has seen, the next wait ends at once; in a later sleep, not."""
    wakes = threading.Semaphore(0)
    thread = OneShotThread(lambda: [wakes.acquire() for _ in range(2)])
    thread.wait_until_asleep(30)
    pauses: list[float] = []
    sleep = time.sleep

    def paused(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", paused)
    thread.wait_until_asleep(30)
    assert pauses == []
    wakes.release()
    thread.wait_until_asleep(30)
    assert pauses
    wakes.release()
    assert thread.wait(30)


def test_a_thread_that_computes_for_long() -> None:
    """The wait ends after its timeout."""
    thread = OneShotThread(lambda: hashlib.pbkdf2_hmac("sha512", b"a", b"b", 600_000))
    thread.wait_until_asleep(0.01)
    assert not thread.returned
    assert thread.wait(30)
