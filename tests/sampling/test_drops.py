"""drops: growth of counters that come, go, and wrap."""

from __future__ import annotations

from gunicorn_backlog.sampling.drops import Drops


def test_growth_since_the_last_call() -> None:
    """The first counter is the base; later growth counts once."""
    drops = Drops()
    drops.add({1: 100})
    assert drops.take() == 0
    drops.add({1: 103})
    drops.add({1: 105})
    assert drops.take() == 5
    assert drops.take() == 0


def test_a_counter_wraps_at_32_bits() -> None:
    """The kernel's counter is a u32."""
    drops = Drops()
    drops.add({1: 2**32 - 2})
    drops.add({1: 3})
    assert drops.take() == 5


def test_sockets_come_and_go() -> None:
    """A socket that appears later counts from 0; the drops of a closed socket stay."""
    drops = Drops()
    drops.add({1: 10, 2: 0})
    drops.add({1: 15, 2: 1})
    drops.add({2: 2, 3: 4})
    assert drops.take() == 11


def test_a_socket_that_was_missed_is_no_new_one() -> None:
    """A socket that one dump lacks keeps its base."""
    drops = Drops()
    drops.add({1: 1000})
    drops.add({})
    drops.add({1: 1001})
    assert drops.take() == 1


def test_sockets_that_are_gone_are_forgotten() -> None:
    """The counters of closed sockets are deleted in the end."""
    drops = Drops()
    for inode in range(10_000):
        drops.add({inode: 1})
    assert drops.take() == 9_999
    assert len(drops._last) < 100
