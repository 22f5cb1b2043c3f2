"""drops: growth of counters that come, go, and wrap."""

from __future__ import annotations

from gunicorn_backlog.drops import Drops


def test_growth_since_the_last_call() -> None:
    """The first reading is the base line; then what was added, once."""
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
    """A new socket has a base line of its own; what one dropped before it went is not lost."""
    drops = Drops()
    drops.add({1: 10, 2: 0})
    drops.add({1: 15, 2: 1})
    drops.add({2: 2, 3: 1000})
    assert drops.take() == 7
    drops.add({1: 500, 2: 2, 3: 1001})
    assert drops.take() == 1
