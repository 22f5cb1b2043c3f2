"""monitor: forks and name look-ups beside the thread."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest
from agent import StandInAgent

from gunicorn_backlog.dogstatsd import agent_socket
from tests.arbiter.conftest import Starting, fork
from tests.lab.pushes import next_pushes
from tests.lab.waiting import wait_for


def test_look_ups_run_in_a_thread_that_blocks_signals(
    started: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the arbiter's thread nor one with its signal mask looks up a name; mocked."""
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


def test_a_hung_resolver_delays_nothing(
    started: Starting, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples, forks and the shutdown continue; the resolver is mocked."""
    hangs, go_on = threading.Event(), threading.Event()

    def resolve(_: object) -> agent_socket.Target:
        hangs.set()
        go_on.wait(30)
        raise OSError("gave up")

    monkeypatch.setattr(agent_socket, "resolve", resolve)
    monkeypatch.setenv("GUNICORN_BACKLOG_URL", "udp://agent.example:8125")
    monkeypatch.setenv("GUNICORN_BACKLOG_INTERVAL", "1")
    monitor = started()
    assert hangs.wait(20)
    for _ in range(2):
        wait_for("a few samples", lambda: len(monitor._pipeline._window._samples) >= 3)
        wait_for("the next interval", lambda: len(monitor._pipeline._window._samples) < 3)

    began_s = time.monotonic()
    fork()
    monitor.stop()
    took_s = time.monotonic() - began_s
    go_on.set()
    assert took_s < 5  # far below the 30 s of the resolver, far above what we may take


@pytest.mark.parametrize(("url", "waits"), [("udp://agent.example:8125", True), (None, False)])
def test_a_fork_waits_for_look_ups_if_there_are_any(
    started: Starting, monkeypatch: pytest.MonkeyPatch, url: str | None, *, waits: bool
) -> None:
    """Without names the resolver is not touched: each touched page prolongs a fork; mocked."""
    if url is not None:
        monkeypatch.setenv("GUNICORN_BACKLOG_URL", url)
        found = agent_socket.Target(socket.AF_INET, ("127.0.0.1", 9))
        monkeypatch.setattr(agent_socket, "resolve", lambda _: found)
    monitor = started()
    asked: list[float] = []
    monkeypatch.setattr(monitor._pipeline, "wait_for_look_up", asked.append)
    fork()
    assert bool(asked) is waits


def test_a_fork_after_the_end_does_not_wait(
    started: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last push may hang with the gate held: the fork does not acquire the gate."""
    monitor = started()
    asked: list[bool] = []
    monitor.stop()
    monkeypatch.setattr(monitor._gate, "before_fork", lambda: asked.append(True))
    fork()
    assert asked == []


def test_a_child_has_nothing_of_the_thread(started: Starting, agent: StandInAgent) -> None:
    """The child has no thread of ours and no socket to the Agent, and can fork."""
    without_us = threads_of_a_child()
    monitor = started()
    next_pushes(agent, 1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        sockets = [fd for fd in os.listdir("/proc/self/fd") if _is_udp_client(int(fd), agent)]
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0)
        os.waitpid(grandchild, 0)
        monitor.stop()
        os.write(
            write, f"{len(os.listdir('/proc/self/task')) - without_us} {len(sockets)}".encode()
        )
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"0 0"
    os.close(read)
    os.close(write)
    assert next_pushes(agent, 1)


def threads_of_a_child() -> int:
    """Return the number of threads in a process that is forked now, and that forks.

    A client of ``datadog`` that another test left in this process restarts its threads then.
    """
    pid = os.fork()
    if pid == 0:
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0)
        os.waitpid(grandchild, 0)
        os._exit(len(os.listdir("/proc/self/task")))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _is_udp_client(fd: int, agent: StandInAgent) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            return str(sock.getpeername()[1]) == agent.url.rpartition(":")[2]
    except (OSError, IndexError):
        return False
