"""states: what workers say of themselves."""

from __future__ import annotations

from gunicorn_backlog.scoreboard.owners import Owners
from gunicorn_backlog.scoreboard.slot import IDLE_HTTP2, OVERFLOW
from gunicorn_backlog.scoreboard.states import (
    Columns,
    States,
    of_any_number,
    of_one_at_a_time,
    of_pool,
)


def test_of_one_request_at_a_time() -> None:
    """In use from the begin on, and the time goes on; idle it is the time worked."""
    columns = of_one_at_a_time([1000, 1000 - 5300], [4, 5])
    assert columns == Columns([0, 1], [0, 1], [0, 0], [4, 5], [0, 1], [1000, 1000 - 5300])
    assert States(Owners(), columns).worked_by(5350) == 1000 + 1050


def test_of_any_number_of_requests() -> None:
    """In use as many as are in flight; the time is not known."""
    none = [0, 0]
    assert of_any_number([3, 0], [9, 2]) == Columns([3, 0], [3, 0], none, [9, 2], none, none)


def test_of_a_pool() -> None:
    """Its threads add up; connections that none took are queued; parked threads serve nobody.

    Requests are a number of their own: a connection taken may have none, or several.
    """
    assert of_pool([10, 1, IDLE_HTTP2, 6], [700 - 1000, 50, 0], [5, 2, 0]) == (
        1,
        0,
        2,
        6,
        1,
        450 - 700,
    )


def test_threads_without_a_record() -> None:
    """They are in use, and their requests in flight; their time is not known."""
    assert of_pool([5, 3, 2 * OVERFLOW, 4], [-100, -100], [1, 1]) == (4, 4, 0, 4, 2, -200)


def test_what_changes_while_it_is_read_is_never_negative() -> None:
    """A thread that ended after it was seen parked, and began after the pool was seen."""
    in_use, in_flight, queued, *_ = of_pool([4, 0, IDLE_HTTP2, 0], [100], [5])
    assert (in_use, in_flight, queued) == (0, 0, 0)
