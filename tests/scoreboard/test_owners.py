"""owners: whose the slots are."""

from __future__ import annotations

from gunicorn_backlog.scoreboard.owners import owners_of
from gunicorn_backlog.scoreboard.slot import Kind, SlotRecord
from gunicorn_backlog.scoreboard.states import Columns, State, States

LINES = 100


def line(pid: int, age: int, kind: Kind, capacity: int = 1, threads_at: int = 0) -> SlotRecord:
    """Return a slot's fields."""
    return SlotRecord(pid, age, kind, 1, capacity, 10 * age, 0, 0, 0, 0, threads_at)


def test_owners_are_the_running_workers_by_kind() -> None:
    """A slot of the dead is nobody's, nor that of a pid's former life."""
    claimed = [
        line(11, 1, Kind.GTHREAD, 2),
        line(12, 2, Kind.SYNC),
        line(13, 3, Kind.GTHREAD, 9, threads_at=3),
        line(14, 4, Kind.SYNC),
        line(15, 5, Kind.SYNC),
    ]
    owners = owners_of(claimed, {11: 1, 12: 2, 13: 3, 15: 50, 16: 6}, LINES)
    assert owners.pids == [12, 11, 13]
    assert owners.slots == [1, 0, 2]
    assert owners.places == {Kind.SYNC: slice(0, 1), Kind.GTHREAD: slice(1, 3)}
    assert owners.without_slot == [15, 16]
    assert owners.threads[0] == (0, 3 * 64, slice(0, 2), slice(8, 10), slice(16, 18))
    assert owners.threads[1] == (3 * 64, 9 * 64, slice(24, 33), slice(40, 49), slice(56, 65))


def test_those_of_whom_nothing_is_known_are_not_seen() -> None:
    """Their class is unknown, or they could not be watched."""
    kinds = [Kind.UNKNOWN, Kind.FAILED, Kind.SYNC, Kind.ASGI]
    claimed = [line(number, number, kind) for number, kind in enumerate(kinds, start=1)]
    owners = owners_of(claimed, {number: number for number in range(1, 5)}, LINES)
    assert (len(owners.pids), owners.seen) == (4, 2)


def test_nonsense_of_a_worker_that_ran_amok_is_left_out() -> None:
    """Threads where there are no lines; and two slots of one worker are one."""
    claimed = [line(1, 1, Kind.GTHREAD, 8, LINES - 2), line(2, 2, Kind.SYNC), line(2, 2, Kind.SYNC)]
    owners = owners_of(claimed, {1: 1, 2: 2}, LINES)
    assert owners.pids == [2]
    assert (owners.without_slot, owners.without_lines) == ([], [1])


def test_lines_are_those_of_who_claimed_them_last() -> None:
    """The former has died, and the arbiter has not heard of it: what it did is not known."""
    claimed = [
        line(1, 1, Kind.GTHREAD, 9, threads_at=0),
        line(2, 3, Kind.GTHREAD, 1, threads_at=3),
        line(3, 2, Kind.GTHREAD, 1, threads_at=6),
    ]
    owners = owners_of(claimed, {1: 1, 2: 3, 3: 2}, LINES)
    assert owners.pids == [2, 3]
    assert owners.without_lines == [1]
    assert owners.without_slot == []


def test_rows_are_the_columns_by_pid_without_those_unread() -> None:
    """Each with the kind and the claim of its owner."""
    owners = owners_of(
        [line(1, 1, Kind.SYNC), line(2, 2, Kind.ASGI, 0), line(3, 3, Kind.SYNC)],
        {1: 1, 2: 2, 3: 3},
        LINES,
    )
    columns = Columns([1, 0, 4], [1, 0, 4], [0, 0, 0], [7, 8, 9], [1, 0, 0], [-5, 6, 0])
    assert States(owners, columns, unread=[3]).rows() == {
        1: State(Kind.SYNC, True, 1, 10, 1, 1, 0, 7, 1, -5),
        2: State(Kind.ASGI, True, 0, 20, 4, 4, 0, 9, 0, 0),
    }
