"""The cause of a worker's exit, from its status, gunicorn's signals, and the OOM counter."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gunicorn_backlog.kernel.cgroup import OomKills
from gunicorn_backlog.scoreboard.detail_row import SocketState
from gunicorn_backlog.scoreboard.slot import RECYCLED

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Worker

# Signals by which gunicorn ends a worker, as bits
ENDING = 1 << signal.SIGTERM | 1 << signal.SIGQUIT | 1 << signal.SIGKILL
# WORKER_BOOT_ERROR and APP_LOAD_ERROR of gunicorn's arbiter
BOOT_CODES = frozenset({3, 4})
_KILLING = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})
_CREDIT_S = 10.0  # longest time from the OOM killer's choice to the reap of its victim


class WorkerEnd:
    """What is known of a worker's end; the main thread fills in the attributes.

    It does not hold gunicorn's object: the class of a worker may belong to a former config.

    pid, age: of the worker.
    aborted: gunicorn ended the worker after its timeout.
    sent: the signals that gunicorn sent, as bits.
    status: exit code, or the negative number of the signal; None: not seen.
    leaving: of the worker's slot.
    sockets: of the worker's detail row.
    """

    __slots__ = ("aborted", "age", "leaving", "pid", "sent", "sockets", "status")

    def __init__(self, worker: Worker) -> None:
        self.pid, self.age = worker.pid, worker.age
        self.aborted = False
        self.sent = 0
        self.status: int | None = None
        self.leaving = 0
        self.sockets: tuple[SocketState | None, ...] = ()


class OomCredit:
    """The kills of the OOM killer in this cgroup that no exit was attributed to yet."""

    def __init__(
        self, counter: OomKills | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counter = counter or OomKills()
        self._clock = clock
        self._before = self._counter.read()
        self._expires_s: list[float] = []  # one for each kill

    def update(self) -> None:
        """Read the counter; forget the kills that are too old: their victim was no worker."""
        now_s, kills = self._clock(), self._counter.read()
        if kills is not None and self._before is not None:
            self._expires_s += [now_s + _CREDIT_S] * min(1000, kills - self._before)
        self._before = kills if kills is not None else self._before
        if self._expires_s:
            self._expires_s = [expires_s for expires_s in self._expires_s if expires_s > now_s]

    def take(self) -> bool:
        """Attribute one kill; return False if there is none."""
        if not self._expires_s:
            return False
        self._expires_s.pop(0)
        return True


def cause(end: WorkerEnd, oom: OomCredit) -> str:
    """Return the reason, one of ``catalog.EXIT_REASONS``."""
    status, sent = end.status, end.sent
    if end.aborted:
        return "timeout"
    if status in BOOT_CODES:
        return "boot"
    if status == -signal.SIGKILL and not sent & 1 << signal.SIGKILL and oom.take():
        return "oom"
    if sent & ENDING:
        return "asked"
    if status is None:
        return "recycled" if end.leaving == RECYCLED else "unknown"
    if status == 0:
        return "recycled" if end.leaving == RECYCLED else "asked"
    return "killed" if status in _KILLING else "crashed"


def describe(end: WorkerEnd, reason: str) -> str:
    """Return a log text for a worker that was killed by a signal of another; empty for others."""
    if reason not in ("oom", "killed", "crashed") or end.status is None or end.status >= 0:
        return ""
    try:
        name = signal.Signals(-end.status).name
    except ValueError:  # most of the real-time signals have no name
        name = f"signal {-end.status}"
    why = ", the OOM killer of its cgroup" if reason == "oom" else ""
    return (
        f"worker {end.pid} was killed by {name}, which gunicorn did not send{why}; further "
        "ones are only counted in gunicorn.workers.exited"
    )
