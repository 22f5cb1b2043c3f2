"""roster: workers by state, from what their slots say."""

from __future__ import annotations

from gunicorn_backlog.roster import Crew, Roster
from gunicorn_backlog.scoreboard import Kind, State

BOOT_LIMIT_S = 30.0


def state(in_use: int = 0, kind: Kind = Kind.SYNC) -> State:
    """Return a slot's state."""
    return State(kind, 1, in_use, 0, 0, 0, 0)


def aged(*pids: int) -> dict[int, int]:
    """Return running workers, each of its pid's age."""
    return {pid: pid for pid in pids}


def test_every_worker_has_one_state() -> None:
    """In use: working; not: idle; no slot: starting."""
    crew = Roster().count(aged(1, 2, 3, 4), {1: state(1), 2: state(), 3: state()}, BOOT_LIMIT_S)
    assert crew == Crew(idle=2, working=1, starting=1, unknown=0, in_flight=1)
    assert crew.total == 4


def test_a_slot_that_can_not_be_read_spoils_the_look() -> None:
    """Better no number than one that leaves a worker out."""
    assert Roster().count(aged(1, 2), {1: state(1), 2: None}, BOOT_LIMIT_S) is None


def test_of_an_unknown_class_there_is_no_state() -> None:
    """It counts, and with it nobody can say how many requests are in flight."""
    crew = Roster().count(aged(1, 2), {1: state(1), 2: state(kind=Kind.UNKNOWN)}, BOOT_LIMIT_S)
    assert crew == Crew(idle=0, working=1, starting=0, unknown=1, in_flight=None)


def test_who_does_not_report_after_the_boot_is_unknown() -> None:
    """A worker is starting until the limit; another one that comes later has its own time."""
    now_s = 100.0
    roster = Roster(clock=lambda: now_s)
    assert roster.count(aged(1), {}, BOOT_LIMIT_S) == Crew(0, 0, 1, 0, 0)
    now_s += BOOT_LIMIT_S + 1
    assert roster.count(aged(1, 2), {}, BOOT_LIMIT_S) == Crew(0, 0, 1, 1, None)
    assert roster.overdue == 1
    assert roster.count(aged(1, 2), {1: state()}, BOOT_LIMIT_S) == Crew(1, 0, 1, 0, 0)
    assert roster.overdue == 0


def test_who_came_up_when_nobody_watched_is_unknown() -> None:
    """It may be at work: it is not starting. With a slot from earlier it is known all the same."""
    crew = Roster().count(aged(1, 2, 3), {1: state(1)}, BOOT_LIMIT_S, watched_after=2)
    assert crew == Crew(idle=0, working=1, starting=1, unknown=1, in_flight=None)
