"""Finds the servers that run here, by the shared memory that their processes hold.

Whoever holds it is the arbiter or one of its workers. The arbiter is the one whose pid stands in
the header: its pid in its own pid namespace, which in a container is another than from outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect import procfs
from gunicorn_backlog.cli.inspect.memory import NAME, Memory
from gunicorn_backlog.scoreboard.server_info import ServerInfo


class Server(NamedTuple):
    """A running server: its arbiter's pid as seen from here, since when it runs, and its memory."""

    pid: int
    began_ns: int
    memory: Memory

    @property
    def server_info(self) -> ServerInfo:
        """What the arbiter says of itself. Raises InspectError."""
        return self.memory.server_info()

    @property
    def age_s(self) -> float:
        """How long it has been running."""
        return procfs.age_s(self.began_ns)

    def check_alive(self) -> None:
        """Raise EndedError if it has ended: its pid may be someone else's by now."""
        with suppress(OSError):
            if procfs.started_ns(self.pid) == self.began_ns:
                return
        raise EndedError(self.pid)


class Found(NamedTuple):
    """The servers that were found, what is wrong with others, and who could not be looked at."""

    servers: list[Server]
    wrong: list[str]
    hidden: list[int]


class _Holder(NamedTuple):
    """A process, and the path by which the memory that it holds is opened."""

    pid: int
    path: str


def find_servers() -> Found:
    """Look at all processes. Raises InspectError if none can be seen."""
    _check_that_any_are_seen()
    found = Found([], [], [])
    for holders in _by_memory(_holders(found.hidden)):
        try:
            server = _server(holders)
            if server is not None:
                server.memory.server_info()  # raises, if it can't be read
        except InspectError as error:
            found.wrong.append(f"the process {holders[0].pid}: {error}")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except OSError as error:
            found.wrong.append(f"the process {holders[0].pid}: {error.strerror}")
        else:
            if server is not None:
                found.servers.append(server)
    roots = {server.pid for server in found.servers}
    found.hidden[:] = [pid for pid in found.hidden if not _descends(pid, roots)]
    return found


def first_pids(pids: list[int]) -> str:
    """Return the first few of them, as text."""
    return ", ".join(map(str, pids[:5])) + (" ..." if len(pids) > 5 else "")


def find_server(pid: int) -> Server:
    """Return the server of an arbiter's or a worker's pid. Raises InspectError."""
    _check_that_any_are_seen()
    try:
        holder = _holder(pid)
        if holder is None:
            raise InspectError(
                f"the process {pid} is no server with gunicorn_backlog in its hooks "
                f"({procfs.command(pid)[:60] or 'it has no command line'})"
            )
        server = _server([holder, *_family(pid)])
    except PermissionError:
        raise InspectError(_refused(pid)) from None
    except (FileNotFoundError, ProcessLookupError):
        raise InspectError(f"there is no process {pid}") from None
    except OSError as error:
        raise InspectError(f"the process {pid} can't be looked at: {error.strerror}") from None
    if server is None:
        raise InspectError(f"the process {pid} is a worker whose server has ended")
    return server


def _check_that_any_are_seen() -> None:
    if not procfs.are_seen():
        raise InspectError("servers are found by Linux's /proc, which is not here")


def _refused(pid: int) -> str:
    with suppress(OSError):
        return (
            f"the process {pid} of {procfs.user(pid)} may not be looked at: {access_remedy([pid])}"
        )
    return f"there is no process {pid}"


def access_remedy(pids: Iterable[int]) -> str:
    """Return what it takes to look at processes that we may not look at."""
    if os.geteuid() != 0 and not any(map(_is_of_our_user, pids)):
        return "run this as the same user, or as root"
    return (
        "CAP_SYS_PTRACE is missing (in a container: run this in it, as the user that its "
        "master runs as)"
    )


def _is_of_our_user(pid: int) -> bool:
    with suppress(OSError):
        return procfs.uid(pid) == os.geteuid()
    return False


def _descends(pid: int, roots: set[int]) -> bool:
    """Tell whether a process is one of those, or a descendant of one."""
    with suppress(OSError):  # it has ended
        while pid and pid not in roots:
            pid = procfs.parent(pid)
    return pid in roots


def _holders(hidden: list[int]) -> Iterator[_Holder]:
    """Yield all processes that hold such a memory; note those that seem to, in ``hidden``."""
    for pid in procfs.pids():
        try:
            holder = _holder(pid)
        except PermissionError:
            with suppress(OSError):
                if "gunicorn" in procfs.command(pid):
                    hidden.append(pid)
        except OSError:
            continue  # it has ended
        else:
            if holder is not None:
                yield holder


def _holder(pid: int) -> _Holder | None:
    for path, link in procfs.descriptors(pid):
        if link.removesuffix(" (deleted)") == NAME:
            return _Holder(pid, path)
    return None


def _family(pid: int) -> Iterator[_Holder]:
    """Yield the parent of a process, if it holds a memory."""
    with suppress(OSError):
        holder = _holder(procfs.parent(pid))
        if holder is not None:
            yield holder


def _by_memory(holders: Iterable[_Holder]) -> list[list[_Holder]]:
    """Return the holders of each memory, the lowest pid first."""
    groups: dict[tuple[int, int], list[_Holder]] = {}
    for holder in holders:
        with suppress(OSError):
            status = os.stat(holder.path)
            groups.setdefault((status.st_dev, status.st_ino), []).append(holder)
    return list(groups.values())


def _server(holders: list[_Holder]) -> Server | None:
    """Return the server whose memory they hold; None if its arbiter is none of them.

    Raises OSError and InspectError.
    """
    memory = Memory(holders[0].path)
    for pid, path in holders:
        with suppress(FileNotFoundError, ProcessLookupError):
            if memory.is_at(path) and procfs.own_pid(pid) == memory.arbiter_pid:
                return Server(pid, procfs.started_ns(pid), memory)
    memory.close()
    return None
