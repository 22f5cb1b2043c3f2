"""A server's worker processes, by ``/proc`` and the slots in the shared memory."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect import procfs
from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.scoreboard.server_info import ServerInfo

# Ages for ``WorkerCounter`` of workers without a slot; no slot stores these values.
STARTING, WITHOUT_SLOT = 1 << 32, -1
_TICK_NS = 10_000_000


class Running(NamedTuple):
    """The running workers.

    ``ages``: gunicorn's age of a worker, by its pid in the arbiter's pid namespace. ``pids``: the
    pid in our pid namespace, by the same key.
    """

    ages: dict[int, int]
    pids: dict[int, int]


class Workers:
    """Finds the workers among the arbiter's child processes."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._own_pids: dict[tuple[int, int], int] = {}  # by pid and begin

    def running(self, about: ServerInfo) -> Running:
        """Return the workers that run now. Raises EndedError, and InspectError.

        A child with a slot is a worker. A child that maps the memory and has no children is a
        worker without a slot. Other children are the new arbiter of an upgrade, gunicorn's dirty
        arbiter, or a program that the config or the app started.

        Without CAP_SYS_PTRACE the descriptors of another user's process are unreadable. That
        process counts as a worker if it has called no ``exec`` since its fork.
        """
        lines = {line.pid: line for line in self._server.memory.reader.claimed()}
        running = Running({}, {})
        for pid, began_ns in self._children():
            with suppress(FileNotFoundError, ProcessLookupError):  # the child has ended
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
        self._server.check_alive()
        try:
            pids = procfs.children(self._server.pid)
        except (FileNotFoundError, ProcessLookupError):
            raise EndedError(self._server.pid) from None
        except OSError as error:
            text = f"the children of {self._server.pid} can't be read: {error.strerror}"
            raise InspectError(text) from None
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
        """Return whether a worker will never get a slot: too old, or forked without our hooks."""
        if not about.enabled or procfs.age_s(began_ns) > about.boot_limit_s:
            return True
        return self._clock.of(began_ns) + _TICK_NS < about.watched_since_ns

    def _holds(self, pid: int) -> bool:
        try:
            return any(self._server.memory.is_at(path) for path, _ in procfs.descriptors(pid))
        except PermissionError:
            return procfs.is_forked_only(pid)
