"""Which workers a server has, as ``/proc`` and their slots say it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from gunicorn_backlog.cli.errors import EndedError
from gunicorn_backlog.cli.inspect import procfs
from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.scoreboard.server_info import ServerInfo

# Ages, for ``WorkerCounter``, of those that have no slot: no slot has such a one.
STARTING, WITHOUT_SLOT = 1 << 32, -1
_TICK_NS = 10_000_000


class Running(NamedTuple):
    """The workers: age by pid as the arbiter has it, and by that pid the one seen from here."""

    ages: dict[int, int]
    pids: dict[int, int]


class Workers:
    """Finds the arbiter's children, and which of them are workers."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._own_pids: dict[tuple[int, int], int] = {}  # by pid and begin

    def running(self, about: ServerInfo) -> Running:
        """Return the workers that run now. Raises EndedError.

        A child that has claimed a slot is a worker; so is one that holds the memory and has no
        children of its own: it has not claimed one yet. Others are the new master of an upgrade,
        gunicorn's dirty arbiter, or somebody's own. Whether it holds the memory can't be seen of
        a worker of another user without CAP_SYS_PTRACE: it then is one if it was forked only.
        """
        lines = {line.pid: line for line in self._server.memory.reader.claimed()}
        running = Running({}, {})
        for pid, began_ns in self._children():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                own_pid = self._own_pid(pid, began_ns)
                line = lines.get(own_pid)
                # An earlier process may have had its pid, and claimed the slot.
                if line is not None and self._clock.of(began_ns) <= line.claimed_ns + _TICK_NS:
                    age = line.age
                elif not self._holds(pid) or procfs.children(pid):
                    continue
                else:
                    age = WITHOUT_SLOT if self._gets_none(about, began_ns) else STARTING
                running.ages[own_pid], running.pids[own_pid] = age, pid
        return running

    def _children(self) -> Collection[tuple[int, int]]:
        try:
            self._server.check_alive()
            pids = procfs.children(self._server.pid)
        except OSError:
            raise EndedError(self._server.pid) from None
        found = []
        for pid in pids:
            with suppress(OSError):
                found.append((pid, procfs.started_ns(pid)))
        there = set(found)
        self._own_pids = {key: own for key, own in self._own_pids.items() if key in there}
        return found

    def _own_pid(self, pid: int, began_ns: int) -> int:
        key = pid, began_ns
        if key not in self._own_pids:
            self._own_pids[key] = procfs.own_pid(pid)
        return self._own_pids[key]

    def _gets_none(self, about: ServerInfo, began_ns: int) -> bool:
        """Tell whether a worker will not get a slot any more: too old, or nobody watches."""
        if not about.enabled or procfs.age_s(began_ns) > about.boot_limit_s:
            return True
        return self._clock.of(began_ns) + _TICK_NS < about.watched_since_ns

    def _holds(self, pid: int) -> bool:
        try:
            return any(self._server.memory.is_at(path) for path, _ in procfs.descriptors(pid))
        except PermissionError:
            return procfs.is_forked_only(pid)
