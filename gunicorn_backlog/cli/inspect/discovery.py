"""Finds running servers by the shared memory that their processes hold.

The arbiter and its workers hold the memory. The header has the arbiter's pid in the arbiter's own
pid namespace; a container's pids differ from those outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect import procfs
from gunicorn_backlog.cli.inspect.memory import Memory, is_link
from gunicorn_backlog.scoreboard.server_info import ServerInfo


class Server(NamedTuple):
    """A running server.

    ``pid``: the arbiter's, in our pid namespace. ``began_ns``: its start, in CLOCK_BOOTTIME.
    ``memory``: its shared memory.
    """

    pid: int
    began_ns: int
    memory: Memory

    @property
    def server_info(self) -> ServerInfo:
        """The server info that the arbiter published last. Raises InspectError."""
        return self.memory.server_info()

    @property
    def age_s(self) -> float:
        """Seconds since the arbiter started."""
        return procfs.age_s(self.began_ns)

    def check_alive(self) -> None:
        """Raise EndedError if the arbiter has ended; a new process may have the same pid.

        Raises InspectError if that can't be read, for example for lack of descriptors.
        """
        try:
            if procfs.started_ns(self.pid) == self.began_ns:
                return
        except (FileNotFoundError, ProcessLookupError):
            pass
        except OSError as error:
            raise InspectError(f"the process {self.pid} can't be read: {error.strerror}") from None
        raise EndedError(self.pid)


class Found(NamedTuple):
    """The result of a search.

    ``errors``: texts about servers that can't be inspected. ``hidden``: pids of processes that may
    be servers, and that deny access.
    """

    servers: list[Server]
    errors: list[str]
    hidden: list[int]


# A process, and the path that opens the memory which it holds.
_Holder = tuple[int, str]


def find_servers() -> Found:
    """Search all processes. Raises InspectError if there is no ``/proc``."""
    _require_procfs()
    found = Found([], [], [])
    for holders in _by_memory(_holders(found.hidden)):
        try:
            server = _server(holders)
            if server is not None:
                server.memory.server_info()  # raises if the info cannot be read
                found.servers.append(server)
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process has ended
        except (InspectError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            found.errors.append(f"the process {holders[0][0]}: {why}")
    roots = {server.pid for server in found.servers}
    found.hidden[:] = [pid for pid in found.hidden if procfs.ancestor(pid, roots) is None]
    return found


def first_pids(pids: list[int]) -> str:
    """Return the first five pids as text, with `` ...`` if there are more."""
    return ", ".join(map(str, pids[:5])) + (" ..." if len(pids) > 5 else "")


def find_server(pid: int) -> Server:
    """Return the server of an arbiter's or a worker's pid. Raises InspectError."""
    _require_procfs()
    try:
        path = _path(pid)
        if path is None:
            raise InspectError(
                f"the process {pid} is no server with gunicorn_backlog in its hooks "
                f"({procfs.command(pid)[:60] or 'it has no command line'})"
            )
        holders = [(pid, path)]
        with suppress(OSError):
            parent = procfs.parent(pid)
            if (path := _path(parent)) is not None:
                holders.append((parent, path))
        server = _server(holders)
    except PermissionError:
        raise InspectError(_denied(pid)) from None
    except (FileNotFoundError, ProcessLookupError):
        raise InspectError(f"there is no process {pid}") from None
    except OSError as error:
        raise InspectError(f"the process {pid} can't be inspected: {error.strerror}") from None
    if server is None:
        raise InspectError(f"the process {pid} is a worker whose server has ended")
    return server


def _require_procfs() -> None:
    if not procfs.exists():
        raise InspectError("servers are found by Linux's /proc, which is not here")


def _denied(pid: int) -> str:
    with suppress(OSError):
        return (
            f"access to the process {pid} of {procfs.user(pid)} is denied: {access_remedy([pid])}"
        )
    return f"there is no process {pid}"


def access_remedy(pids: Iterable[int]) -> str:
    """Return the remedy for processes that deny access."""
    if os.geteuid() != 0 and not any(map(_is_our_users, pids)):
        return "run this as the same user, or as root"
    return (
        "CAP_SYS_PTRACE is missing (in a container: run this in the same container, as the "
        "arbiter's user)"
    )


def _is_our_users(pid: int) -> bool:
    with suppress(OSError):
        return procfs.uid(pid) == os.geteuid()
    return False


def _holders(hidden: list[int]) -> Iterator[_Holder]:
    """Yield all processes that hold a memory; append gunicorns that deny access to ``hidden``."""
    for pid in procfs.pids():
        try:
            path = _path(pid)
        except PermissionError:
            with suppress(OSError):
                if "gunicorn" in procfs.command(pid):
                    hidden.append(pid)
        except OSError:
            continue  # the process has ended
        else:
            if path is not None:
                yield pid, path


def _path(pid: int) -> str | None:
    return next((path for path, link in procfs.descriptors(pid) if is_link(link)), None)


def _by_memory(holders: Iterable[_Holder]) -> list[list[_Holder]]:
    """Return the holders of each memory, the lowest pid first."""
    groups: dict[tuple[int, int], list[_Holder]] = {}
    for pid, path in holders:
        with suppress(OSError):
            status = os.stat(path)
            groups.setdefault((status.st_dev, status.st_ino), []).append((pid, path))
    return list(groups.values())


def _server(holders: list[_Holder]) -> Server | None:
    """Return the server whose memory the processes hold; None if the arbiter is not among them.

    Raises OSError and InspectError.
    """
    memory = Memory(holders[0][1])
    for pid, path in holders:
        with suppress(FileNotFoundError, ProcessLookupError):
            if memory.is_at(path) and procfs.own_pid(pid) == memory.arbiter_pid:
                return Server(pid, procfs.started_ns(pid), memory)
    memory.close()
    return None
