"""Connections that the kernel reset because their listening socket was closed.

A socket is gone when the arbiter does not hold it and the kernel does not list it. Its connections
are those that the last worker found in the queue when it closed the socket. A worker that was
killed recorded nothing: then the latest sample counts, and the connections since then do not.
At an address with ``reuse_port`` another server may listen, too: only the sockets count that this
process or one of its workers recorded, hence not those of a worker that ends while it starts.
With ``net.ipv4.tcp_migrate_req`` the kernel moves the connections to another worker's socket.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from gunicorn_backlog._threads.unpatched import original
from gunicorn_backlog.config.tags import listener_tag
from gunicorn_backlog.kernel import sock_diag
from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.kernel.tcp_migrate_req import migrates
from gunicorn_backlog.sampling.bind import family_of, numeric
from gunicorn_backlog.scoreboard.detail_row import SocketState
from gunicorn_backlog.scoreboard.server_info import ListenerRef

KILLED_S = 0.04  # longest time for which the last push waits for the end of killed workers


class _Watched(NamedTuple):
    """A socket that may be lost, and the length of its queue in the latest sample."""

    ref: ListenerRef
    length: int


class UnreadableSocketsError(Exception):
    """Netlink was refused: whether a socket still exists is not known."""


class Lost:
    """Finds the sockets that are gone, and counts their connections once."""

    def __init__(self, *, migrates: Callable[[], bool] = migrates) -> None:
        self._migrates = migrates
        self._watched: dict[int, _Watched] = {}  # by inode
        self._own: set[int] = set()  # inodes of the arbiter's and its workers' sockets
        self._counted: set[int] = set()

    def sample(self, ref: ListenerRef, lengths: Mapping[int, int], *, own: bool = True) -> None:
        """Note the queues of a listener's sockets, by inode.

        :param own: no socket of another server is among them.
        """
        if own:
            self._own.update(lengths)
        for inode, length in lengths.items():
            self._watched[inode] = _Watched(ref, length)

    @property
    def watched(self) -> Set[int]:
        """The inodes of all sockets that may be lost."""
        return self._watched.keys()

    def note_untracked(
        self, states: Iterable[tuple[SocketState | None, ...]], addresses: Iterable[object]
    ) -> None:
        """Watch the sockets of workers that lived shorter than a sample (``reuse_port``).

        :param addresses: gunicorn's, in the order of each worker's sockets.
        """
        known = list(addresses)
        for sockets in states:
            for state, address in zip(sockets, known, strict=False):
                if state is None or not isinstance(address, tuple):
                    continue
                host = numeric(address[0])
                self._own.add(state.inode)
                if host and state.inode not in self._watched and state.inode not in self._counted:
                    tag, port = listener_tag((host, address[1])), address[1]
                    ref = ListenerRef(tag, int(family_of(host)), host=host, port=port)
                    self._watched[state.inode] = _Watched(ref, 0)

    def wait_for_killed(
        self, held: Collection[int], closed: Iterable[SocketState]
    ) -> dict[int, int]:
        """Wait until killed workers have ended, and return the latest lengths of their queues.

        By inode. Another process may keep a socket: a child of a worker, systemd, or the new master
        of an upgrade. Raises UnreadableSocketsError.
        """
        own = {*self._own, *(state.inode for state in closed)} & self._watched.keys() - set(held)
        refs = {self._watched[inode].ref for inode in own}
        lengths: dict[int, int] = {}
        end_s = time.monotonic() + KILLED_S
        while True:
            existing = _existing(refs)
            lengths.update({inode: existing[inode] for inode in own if inode in existing})
            if not own & existing.keys() or time.monotonic() > end_s:
                return lengths
            original("time", "sleep")(KILLED_S / 20)

    def take(
        self,
        held: Collection[int],
        closed: Collection[SocketState],
        *,
        others_end: bool = True,
        at_kill: Mapping[int, int] = MappingProxyType({}),
    ) -> dict[str, int | None]:
        """Return the connections that were lost since the last call, by listener.

        None: not known. Raises UnreadableSocketsError.

        :param held: inodes of the sockets that this process has.
        :param closed: the states that workers recorded, also of open sockets.
        :param others_end: no worker of the arbiter can still close a socket after the last call.
        :param at_kill: of ``wait_for_killed``.
        """
        at_close = _latest(closed) | dict(at_kill)
        self._own.update(held, [state.inode for state in closed])
        lost: dict[str, int | None] = {it.ref.listener: 0 for it in self._watched.values()}
        gone: dict[ListenerRef, list[int]] = {}
        others = [inode for inode in self._watched if inode not in held]
        existing = _existing({self._watched[inode].ref for inode in others})
        for inode in others:
            ref, length = self._watched[inode]
            if self._exists(inode, existing):
                if inode in self._own and not others_end:
                    lost[ref.listener] = None
                continue
            del self._watched[inode]
            if inode in self._own:
                self._counted.add(inode)
                gone.setdefault(ref, []).append(at_close.get(inode, length))
        for ref, lengths in gone.items():
            addressed = any(other.ref == ref for other in self._watched.values())
            count, former = self._reset(ref, lengths, addressed=addressed), lost[ref.listener]
            lost[ref.listener] = None if count is None or former is None else former + count
        self._own &= self._watched.keys()
        self._counted &= {state.inode for state in closed}
        return lost

    def _exists(self, inode: int, existing: Mapping[int, int]) -> bool:
        """Return whether a watched socket exists, and note the latest length of its queue.

        :param existing: the lengths of all TCP listeners, by inode.
        """
        ref, length = self._watched[inode]
        if inode not in existing and not (ref.family == socket.AF_UNIX and _unix_exists(inode)):
            return False
        self._watched[inode] = _Watched(ref, existing.get(inode, length))
        return True

    def _reset(self, ref: ListenerRef, lengths: list[int], *, addressed: bool) -> int | None:
        """Return the connections of sockets at one address that were not moved to another socket.

        :param addressed: a socket still listens at the address.
        """
        lengths = [length for length in lengths if length]
        if not lengths or ref.family == socket.AF_UNIX or not self._migrates():
            return sum(lengths)
        if addressed:
            return 0
        return lengths[0] if len(lengths) == 1 else None  # moved from one to the other


def _latest(closed: Iterable[SocketState]) -> dict[int, int]:
    """Return the queue of each socket when the last worker closed it, by inode."""
    latest: dict[int, SocketState] = {}
    for state in closed:
        if state.length is not None:
            other = latest.get(state.inode)
            if other is None or state.is_later_than(other):
                latest[state.inode] = state
    return {inode: state.length for inode, state in latest.items() if state.length is not None}


def _existing(refs: Iterable[ListenerRef]) -> dict[int, int]:
    """Return the lengths of all TCP listeners at the ports of these listeners, by inode."""
    ports = {(ref.family, ref.port) for ref in refs if ref.family != socket.AF_UNIX}
    try:
        return {
            listener.inode: listener.queue.length
            for family, port in ports
            for listener in sock_diag.inet_listeners(family, port)
        }
    except (OSError, QueueError) as error:
        raise UnreadableSocketsError(str(error)) from error


def _unix_exists(inode: int) -> bool:
    try:
        sock_diag.unix_queue(inode)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise UnreadableSocketsError(os.strerror(error.errno or 0)) from error
    except QueueError as error:
        raise UnreadableSocketsError(str(error)) from error
    return True
