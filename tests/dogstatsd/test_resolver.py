"""Tests of the resolver: when it looks a name up, and which addresses need no look-up."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from gunicorn_backlog._threads import one_shot
from gunicorn_backlog.config.agent_address import Address, is_local, parse
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.agent_socket import Target
from gunicorn_backlog.dogstatsd.resolver import FORK_WAIT_S, REFRESH_S, RETRY_S, Resolver
from tests.lab.waiting import wait_for

NAME = Address("udp", host="agent.example", port=8125)
FIRST = Target(socket.AF_INET, ("127.0.0.1", 8125))


class Names:
    """A replacement for ``resolve`` with a settable answer; ``asked`` counts calls."""

    def __init__(self) -> None:
        self.answer: Target | OSError = FIRST
        self.asked = 0
        self.threads: set[int] = set()

    def __call__(self, _: Address) -> Target:
        """Return or raise the answer."""
        self.asked += 1
        self.threads.add(threading.get_ident())
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


class Clock:
    """A clock that stands still until ``now_s`` is set."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Replace ``resolve``."""
    names = Names()
    monkeypatch.setattr(agent_socket, "resolve", names)
    return names


def ask(resolver: Resolver, *, unreachable: bool = False) -> None:
    """Refresh, and wait for the end of a look-up."""
    resolver.refresh(unreachable=unreachable)
    wait_for("the look-up", lambda: resolver._thread is None or resolver._thread.returned)


def test_each_minute_and_more_often_while_the_agent_is_unreachable(names: Names) -> None:
    """Look-ups have a minimum period, because a fleet must not flood its name servers."""
    clock = Clock()
    resolver = Resolver(NAME, clock=clock)
    ask(resolver)
    assert (resolver.target, names.asked) == (FIRST, 1)
    clock.now_s += REFRESH_S - 1
    ask(resolver)
    assert names.asked == 1
    ask(resolver, unreachable=True)
    assert names.asked == 2
    clock.now_s += RETRY_S / 2
    ask(resolver, unreachable=True)
    assert names.asked == 2
    clock.now_s += REFRESH_S
    ask(resolver)
    assert names.asked == 3
    assert threading.get_ident() not in names.threads


def test_a_failed_look_up_keeps_the_target(names: Names) -> None:
    """A failed look-up sets ``error``, and keeps the former target."""
    clock = Clock()
    resolver = Resolver(NAME, clock=clock)
    ask(resolver)
    names.answer = OSError("no answer")
    clock.now_s += REFRESH_S
    ask(resolver)
    assert resolver.target == FIRST
    assert str(resolver.error) == "no answer"
    clock.now_s += RETRY_S
    ask(resolver)
    assert names.asked == 2


def test_one_look_up_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a look-up hangs, no other begins, and ``refresh`` returns at once."""
    go_on = threading.Event()
    asked: list[Address] = []

    def hang(address: Address) -> Target:
        asked.append(address)
        go_on.wait(20)
        return FIRST

    monkeypatch.setattr(agent_socket, "resolve", hang)
    clock = Clock()
    resolver = Resolver(NAME, clock=clock)
    for _ in range(5):
        clock.now_s += REFRESH_S
        resolver.refresh(unreachable=True)
    wait_for("the look-up", lambda: asked)
    go_on.set()
    wait_for("the end of the look-up", lambda: resolver.target == FIRST)
    assert len(asked) == 1


@pytest.mark.parametrize("spare_s", [-0.01, 0.03])
def test_only_the_first_fork_waits_for_a_hung_look_up(
    spare_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One fork waits for a bounded time; a hung look-up holds no lock of the C library."""
    go_on = threading.Event()
    monkeypatch.setattr(agent_socket, "resolve", lambda _: go_on.wait(20) and FIRST)
    resolver = Resolver(NAME)
    resolver.wait_for_look_up(time.monotonic() + 20)  # no look-up yet
    resolver.refresh(unreachable=False)
    waits_s = []
    for _ in range(3):
        began_s = time.monotonic()
        resolver.wait_for_look_up(began_s + spare_s)
        waits_s.append(time.monotonic() - began_s)
    go_on.set()
    assert waits_s[0] >= max(FORK_WAIT_S, spare_s)
    assert max(waits_s[1:]) < waits_s[0]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("udp://localhost:1", True),
        ("udp://127.0.0.1:1", True),
        ("udp://[::1]:1", True),
        ("udp://[fe80::1%eth0]:1", True),
        ("udp://LocalHost.:1", True),
        ("udp://agent.localhost:1", True),
        ("udp://notlocalhost:1", False),
        ("udp://127.1:1", False),
        ("unix:///a", True),
        ("udp://agent.example:1", False),
    ],
)
def test_addresses_that_need_no_look_up(url: str, local: bool) -> None:
    """Paths, numbers and localhost need no thread and no name server."""
    assert is_local(parse(url)) == local


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """``error`` names the cause, and the look-up is retried. Mocked: a machine without threads."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    clock = Clock()
    resolver = Resolver(NAME, clock=clock)
    with monkeypatch.context() as patch:
        patch.setattr(one_shot, "original", lambda *_: refuse)
        resolver.refresh(unreachable=False)
    assert "no thread" in str(resolver.error)
    monkeypatch.setattr(agent_socket, "resolve", Names())
    clock.now_s += RETRY_S
    ask(resolver)
    assert (resolver.target, resolver.error) == (FIRST, None)


def test_an_app_replaced_getaddrinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's function is called with text; its exception becomes ``error``."""
    resolver, real = Resolver(NAME), socket.getaddrinfo

    def pinned(host: str, *args: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host.endswith(".example") else host, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", pinned)
    ask(resolver)
    assert resolver.target == FIRST
    monkeypatch.setattr(socket, "getaddrinfo", None)
    other = Resolver(NAME)
    ask(other)
    assert other.target is None
    assert "TypeError: 'NoneType' object is not callable" in str(other.error)


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("localhost", FIRST),
        ("LOCALHOST.", FIRST),
        ("agent.localhost", FIRST),
        ("127.0.0.1", FIRST),
        ("::1", Target(socket.AF_INET6, ("::1", 8125, 0, 0))),
        ("fe80::1%lo", Target(socket.AF_INET6, ("fe80::1", 8125, 0, 1))),
        ("fe80::1%7", Target(socket.AF_INET6, ("fe80::1", 8125, 0, 7))),
    ],
)
def test_targets_without_a_look_up(
    host: str, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Localhost and numbers resolve as by ``getaddrinfo``, which is not called."""
    if not host.lower().rstrip(".").endswith("localhost"):
        _, _, _, _, where = socket.getaddrinfo(host, 8125, 0, socket.SOCK_DGRAM)[0]
        assert where == target.sockaddr
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert agent_socket.resolve(Address("udp", host, 8125)) == target


@pytest.mark.parametrize("scope", ["", "nosuch0", "4294967296"])
def test_a_number_of_a_missing_interface(scope: str) -> None:
    """A missing interface raises OSError."""
    with pytest.raises(OSError, match="no interface"):
        agent_socket.resolve(Address("udp", f"fe80::1%{scope}", 8125))


def test_localhost_switches_between_its_addresses() -> None:
    """The target stays at the selected address; other hosts have no second address."""
    clock = Clock()
    resolver = Resolver(Address("udp", "localhost", 8125), clock=clock)
    assert not resolver.switch_loopback()
    resolver.refresh(unreachable=False)
    assert resolver.target == FIRST
    assert resolver.switch_loopback()
    clock.now_s += REFRESH_S
    resolver.refresh(unreachable=True)
    assert resolver.target == Target(socket.AF_INET6, ("::1", 8125, 0, 0))
    assert resolver.switch_loopback()
    assert resolver.target == FIRST
    other = Resolver(Address("udp", "127.0.0.1", 8125))
    other.refresh(unreachable=False)
    assert not other.is_loopback
    assert not other.switch_loopback()
    assert other.target == FIRST
