"""The cause of an exit, by status, signals, slot and OOM counter."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gunicorn_backlog.arbiter.exit_causes import OomCredit, WorkerEnd, cause, describe
from gunicorn_backlog.kernel.cgroup import OomKills
from gunicorn_backlog.metrics.catalog import EXIT_REASONS
from gunicorn_backlog.scoreboard.slot import LEAVING, RECYCLED
from tests.lab.fake_arbiter import Worker

TERM, QUIT, KILL, INT = signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL, signal.SIGINT
ABRT, SEGV, USR1 = signal.SIGABRT, signal.SIGSEGV, signal.SIGUSR1


class Counter(OomKills):
    """A counter in a file of the test."""

    def __init__(self, file: Path) -> None:
        self.file = file


@pytest.mark.parametrize(
    ("status", "sent", "leaving", "reason"),
    [
        (0, (), 0, "asked"),
        (0, (), LEAVING, "asked"),
        (0, (), RECYCLED, "recycled"),
        (0, (TERM,), RECYCLED, "asked"),
        (-TERM, (TERM,), 0, "asked"),
        (-KILL, (TERM, KILL), 0, "asked"),
        (1, (QUIT,), 0, "asked"),
        (None, (TERM,), 0, "asked"),
        (None, (), RECYCLED, "recycled"),
        (None, (), LEAVING, "unknown"),
        (None, (TERM,), RECYCLED, "asked"),
        (None, (USR1,), 0, "unknown"),
        (3, (), 0, "boot"),
        (4, (TERM,), 0, "boot"),
        (-KILL, (), 0, "killed"),
        (-TERM, (USR1,), 0, "killed"),
        (-INT, (), 0, "killed"),
        (-SEGV, (), 0, "crashed"),
        (-ABRT, (), 0, "crashed"),
        (1, (), 0, "crashed"),
        (255, (), RECYCLED, "crashed"),
    ],
)
def test_causes(
    status: int | None,
    sent: tuple[signal.Signals, ...],
    leaving: int,
    reason: str,
    tmp_path: Path,
) -> None:
    """Each status with its reason; one that gunicorn aborted is a timeout, whatever its status."""
    end = WorkerEnd(Worker(7, 1))
    end.status, end.leaving, end.sent = status, leaving, sum(1 << number for number in sent)
    oom = OomCredit(Counter(tmp_path / "missing"))
    assert cause(end, oom) == reason
    assert reason in EXIT_REASONS
    end.aborted = True
    assert cause(end, oom) == "timeout"


def test_the_oom_killer_explains_as_many_kills_as_it_counted(tmp_path: Path) -> None:
    """One count explains one SIGKILL that gunicorn did not send, for ten seconds."""
    file, now_s = tmp_path / "memory.events", 0.0
    file.write_text("oom_kill 5\n")
    oom = OomCredit(Counter(file), clock=lambda: now_s)
    end = WorkerEnd(Worker(7, 1))
    end.status = -KILL
    oom.update()
    assert cause(end, oom) == "killed"
    file.write_text("oom_kill 7\n")
    oom.update()
    assert [cause(end, oom) for _ in range(3)] == ["oom", "oom", "killed"]
    file.write_text("oom_kill 8\n")
    oom.update()
    end.sent = 1 << KILL
    assert cause(end, oom) == "asked"
    now_s = 11.0
    oom.update()
    end.sent = 0
    assert cause(end, oom) == "killed"


def test_only_a_foreign_signal_is_described() -> None:
    """The text names the signal; other causes have none."""
    end = WorkerEnd(Worker(7, 1))
    end.status = -SEGV
    assert describe(end, "crashed").startswith("worker 7 was killed by SIGSEGV, which")
    end.status = -40
    assert "signal 40" in describe(end, "crashed")
    end.status = -KILL
    assert "OOM killer" in describe(end, "oom")
    assert describe(end, "asked") == describe(end, "timeout") == ""
    end.status = 7
    assert describe(end, "crashed") == ""
