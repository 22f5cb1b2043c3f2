"""fork_gate: forks and a thread that holds the gate."""

from __future__ import annotations

import threading

import pytest

from gunicorn_backlog.arbiter import fork_gate as module
from gunicorn_backlog.arbiter.fork_gate import ForkGate
from tests.lab.waiting import DEADLINE_S


def test_a_fork_passes_while_the_thread_rests() -> None:
    """The gate is free: the fork proceeds at once, and the thread can enter afterwards."""
    gate = ForkGate()
    assert gate.before_fork()
    gate.after_fork_in_parent()
    with gate:
        pass


def test_a_fork_waits_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread holds the gate: the fork proceeds after the thread's step, not before."""
    monkeypatch.setattr(module, "WAIT_S", DEADLINE_S)
    gate = ForkGate()
    inside, passed = threading.Event(), threading.Event()
    too_early: list[bool] = []

    def work() -> None:
        with gate:
            inside.set()
            too_early.append(passed.wait(0.05))  # the fork must not proceed within that time

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(DEADLINE_S)
    assert gate.before_fork()
    passed.set()
    gate.after_fork_in_parent()
    thread.join()
    assert too_early == [False]


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread hangs: the fork proceeds without the lock, and the gate of the child is free."""
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    gate = ForkGate()
    with gate:
        assert not gate.before_fork()
        gate.after_fork_in_parent()
        assert not gate.before_fork()
    assert gate.before_fork()
    gate.after_fork_in_child()
    with gate:
        pass


def test_two_threads_may_fork() -> None:
    """The thread that acquired the gate releases it, not the one whose wait timed out."""
    gate = ForkGate()
    assert gate.before_fork()
    passed: list[bool] = []

    def fork() -> None:
        passed.append(gate.before_fork())
        gate.after_fork_in_parent()

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert passed == [False]
    assert not gate.before_fork()
    gate.after_fork_in_parent()
    assert gate.before_fork()


def test_a_lock_that_is_never_given_back_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raised skipped the release: the thread continues after the timeout."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    gate = ForkGate()
    assert gate.before_fork()
    with gate:
        gate.after_fork_in_parent()
        assert not gate.before_fork()
    assert gate.before_fork()
    gate.after_fork_in_parent()
    with gate:
        pass
