"""The exits of workers, by cause.

gunicorn's hooks receive no exit status. The main thread therefore looks at the status of dead
workers before gunicorn reaps them, without reaping (``waitid`` with WNOWAIT): before each
``reap_workers``, and after each reap of a worker, since ``reap_workers`` reaps in a loop. A worker
that dies between the look and the next ``waitpid`` is reaped unseen, and its status is unknown.
A system without ``waitid`` (macOS before Python 3.13) shows no status at all.

The main thread only fills in the record of each worker (``WorkerEnd``): by single stores and
without locks, since gunicorn 20.1.0 reaps in a signal handler. Our thread classifies the records of
the workers that are gone, once per push (``Exits.take``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from typing import TYPE_CHECKING

from gunicorn_backlog._gunicorn import after_reap_of, before_each
from gunicorn_backlog.arbiter.exit_causes import ENDING, OomCredit, WorkerEnd, cause, describe
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.metrics.catalog import EXIT_REASONS
from gunicorn_backlog.scoreboard.detail_row import SocketState
from gunicorn_backlog.scoreboard.reader import Reader

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter

_CAN_LOOK = hasattr(os, "waitid") and hasattr(os, "WNOWAIT")
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT if _CAN_LOOK else 0
_KILL = 1 << signal.SIGKILL
_RECORDS_MAX = 1 << 16  # if our thread does not run, nothing takes the records of the dead


class Exits:
    """Records and counts the exits of one arbiter's workers.

    reader: of the shared memory; None: there is none.
    youngest: age of the youngest worker whose exit was counted.
    sockets: of the workers that had died at the latest ``take``, from their detail rows.
    """

    def __init__(self, arbiter: Arbiter, logger: OnceLogger) -> None:
        self.reader: Reader | None = None
        self.youngest = 0
        self.sockets: list[tuple[SocketState | None, ...]] = []
        self._arbiter = arbiter
        self._logger = logger
        self._pid = os.getpid()
        self._watching = False
        self._ends: dict[int, WorkerEnd] = {}  # by age
        self._newest = 0  # age of the youngest worker with a record, also a former one
        self._oom = OomCredit()

    def watch(self) -> None:
        """Begin to record; a further call forgets the exits since the last push."""
        self._take_ends(())
        if not self._watching:
            self._watching = True
            before_each(self._arbiter, "reap_workers", self._look)
            before_each(self._arbiter, "kill_worker", self._note_signal)

    # In the main thread, at any point of its code. No exception of ours reaches gunicorn.
    # HaltServer of a nested signal handler is not an Exception, and passes.

    def _look(self, *_: object, **__: object) -> None:
        """Record the workers, and the status of each dead one that was not reaped yet."""
        if os.getpid() != self._pid:  # a worker closes the files of its siblings
            return
        try:
            self._record_workers()
            first = _dead_child()
            end = None if first is None else self._end_of(first.si_pid)
            if first is not None and (end is None or end.status is None):
                for pid in list(self._arbiter.WORKERS):
                    found = _dead_child(pid)
                    if found is not None:
                        self._record_status(found)
        except Exception as error:
            self._logger.exception("looking at exits", error)

    def _note_signal(self, pid: int, sig: int, *_: object, **__: object) -> None:
        """Record a signal, unless the worker is dead already: then it is not the cause."""
        try:
            self._record_workers()
            found = _dead_child(pid)
            if found is not None:
                self._record_status(found)
                return
            worker = self._arbiter.WORKERS.get(pid)
            if worker is not None and worker.age in self._ends:
                end = self._ends[worker.age]
                end.sent |= 1 << sig
                end.aborted = worker.aborted  # gunicorn sets this before its first signal
        except Exception as error:
            self._logger.exception("noting a signal", error)

    def _record_workers(self) -> None:
        for worker in list(self._arbiter.WORKERS.values()):
            if worker.age > self._newest and len(self._ends) < _RECORDS_MAX:
                end = WorkerEnd(worker)
                if self._ends.setdefault(worker.age, end) is end:  # not by a nested signal handler
                    after_reap_of(worker, self._look)
                self._newest = max(self._newest, worker.age)

    def _end_of(self, pid: int) -> WorkerEnd | None:
        worker = self._arbiter.WORKERS.get(pid)
        return None if worker is None else self._ends.get(worker.age)

    def _record_status(self, found: os.waitid_result) -> None:
        end = self._end_of(found.si_pid)
        if end is not None and end.status is None:
            # The slot of a process that was not reaped can't be allocated by another worker.
            self._read_slot(end)
            exited = found.si_code == os.CLD_EXITED
            end.status = found.si_status if exited else -found.si_status

    def _read_slot(self, end: WorkerEnd) -> None:
        if self.reader is not None:
            found = self.reader.find(end.pid, end.age)
            if found is not None:
                slot, details = found
                end.leaving, end.sockets = slot.leaving, details.sockets

    # In our thread.

    def asked(self) -> frozenset[int]:
        """Return the pids of the workers that gunicorn has asked to exit."""
        return frozenset([end.pid for end in list(self._ends.values()) if end.sent & ENDING])

    def all_killed(self) -> bool:
        """Return whether gunicorn has sent SIGKILL to each worker that it still has."""
        killed = {age for age, end in list(self._ends.items()) if end.sent & _KILL}
        return all(worker.age in killed for worker in list(self._arbiter.WORKERS.values()))

    def take(self, sampled: Collection[int]) -> dict[str, int]:
        """Return the number of exits since the last call, by reason.

        :param sampled: ages of the workers of the latest sample. Of these, none counts as gone yet:
            spawned less alive stays equal to the exits.
        """
        counts = dict.fromkeys(EXIT_REASONS, 0)
        self._oom.update()
        self.sockets = [end.sockets for end in list(self._ends.values()) if end.sockets]
        for end in self._take_ends(sampled):
            self.youngest = max(self.youngest, end.age)
            if end.status is None:
                self._read_slot(end)
                self.sockets.append(end.sockets)
            reason = cause(end, self._oom)
            counts[reason] += 1
            text = describe(end, reason)
            if text:
                self._logger.warn("killed", text, until_reset=True)
        return counts

    def _take_ends(self, sampled: Collection[int]) -> list[WorkerEnd]:
        """Remove and return the records of the workers that are gone."""
        ends = list(self._ends)  # before the workers: a record may be added at any time
        kept = {worker.age for worker in list(self._arbiter.WORKERS.values())}.union(sampled)
        return [self._ends.pop(age) for age in ends if age not in kept]


def _dead_child(pid: int | None = None) -> os.waitid_result | None:
    """Return the status of a dead child that was not reaped; None: there is none.

    :param pid: of the child; None: any.
    """
    if not _CAN_LOOK:
        return None
    try:
        return os.waitid(os.P_ALL if pid is None else os.P_PID, pid or 0, _LOOK)
    except ChildProcessError:
        return None
