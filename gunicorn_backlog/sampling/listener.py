"""One listener: its readers, its drops, and its reference for other processes."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from gunicorn_backlog.config.tags import listener_tag
from gunicorn_backlog.kernel import netns_cookie
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, ElsewhereError, QueueError, reason
from gunicorn_backlog.sampling.bind import family_of, numeric
from gunicorn_backlog.sampling.drops import Drops
from gunicorn_backlog.sampling.queue_readers import (
    InetDiag,
    QueueReader,
    ReusePortReader,
    TcpInfo,
    UnixDiag,
    UnreadableListener,
    remedy,
)
from gunicorn_backlog.sampling.unix_list import UnixList
from gunicorn_backlog.scoreboard.server_info import ListenerRef

T = TypeVar("T")


class UnreadableError(Exception):
    """All readers of a listener failed; the text has the reason of each.

    remedies: text for the user; empty: none is known.
    """

    def __init__(self, failed: Sequence[tuple[QueueReader, OSError | QueueError]]) -> None:
        super().__init__("; ".join(f"{reader.name}: {reason(error)}" for reader, error in failed))
        remedies = dict.fromkeys(remedy(reader.name, error) for reader, error in failed)
        self.remedies = "; ".join(filter(None, remedies))


class Listener:
    """One listener and its readers, the cheapest first.

    name: value of the tag ``listener``.
    refused: the latest errors of readers before one that worked; None: the first one always worked.
    is_elsewhere: netlink can't read the socket, as a rule since another network namespace has it.
    """

    def __init__(self, readers: Sequence[QueueReader], ref: ListenerRef) -> None:
        self.name = ref.listener
        self.refused: UnreadableError | None = None
        self.is_elsewhere = isinstance(readers[-1], UnreadableListener)
        self._readers = readers
        self._ref = ref
        self._drops = readers[0].drops
        self._latest: AcceptQueue | None = None
        with suppress(UnreadableError):  # Listeners.dropped reads again, and logs the error
            self.note_drops()

    def read(self) -> AcceptQueue | None:
        """Return the queue; None if the socket was closed, or is not read this time.

        Raises UnreadableError.
        """
        try:
            queue = self._readers[0].queue()
        except (OSError, QueueError):
            queue = self._read_otherwise()
        if queue is not None:
            self._latest = queue
        return queue

    def _read_otherwise(self) -> AcceptQueue | None:
        """Ask all readers, the failed first one again: its error belongs to the reasons."""
        try:
            return self._first_answer(lambda reader: reader.queue())
        except UnreadableError:
            self._latest = None
            raise

    @property
    def is_reuse_port(self) -> bool:
        """Whether each worker has a socket of its own at the address."""
        return isinstance(self._readers[0], ReusePortReader)

    def lengths(self) -> Mapping[int, int]:
        """Return the latest length of the queue of each socket, by inode; empty: not known."""
        (reader, *_) = self._readers
        if isinstance(reader, ReusePortReader):
            return reader.lengths
        if self.is_elsewhere or not self._ref.inode:
            return {}
        return {self._ref.inode: self._latest.length if self._latest else 0}

    def note_drops(self) -> None:
        """Read the kernel's counter of drops, for ``take_drops``. Raises UnreadableError."""
        self._first_answer(lambda reader: reader.note_drops())

    def take_drops(self) -> int | None:
        """Return the drops noted since the last call; None if the kernel does not count them."""
        return self._drops.take() if self._drops.begun else None

    def begin_interval(self) -> None:
        """Allow costly reads again."""
        for reader in self._readers:
            reader.begin_interval()

    def ref(self) -> ListenerRef:
        """Return the listener's reference, with the latest queue if netlink lacks the listener."""
        queue = self._latest
        if queue is None or (queue.limit is not None and not self.is_elsewhere):
            return self._ref
        drops = next(iter(self._drops.latest.values()), None)
        return self._ref._replace(length=queue.length, limit=queue.limit, drops=drops)

    def _first_answer(self, ask: Callable[[QueueReader], T]) -> T | None:
        """Return the answer of the first reader that works; None if the socket was closed."""
        failed: list[tuple[QueueReader, OSError | QueueError]] = []
        for reader in self._readers:
            try:
                answer = ask(reader)
            except (OSError, QueueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EBADF:
                    return None
                failed.append((reader, error))
            else:
                if failed:
                    self.refused = UnreadableError(failed)
                return answer
        raise UnreadableError(failed)


def held_listeners(sockets: Iterable[Any]) -> Iterator[Listener]:
    """Yield the listeners of sockets that this process holds, without closed sockets."""
    for sock in sockets:
        with suppress(OSError):
            address, inode = sock.getsockname(), os.fstat(sock.fileno()).st_ino
            port = address[1] if isinstance(address, tuple) else 0
            ref = ListenerRef(listener_tag(address), int(sock.family), inode, port=port)
            yield Listener(readers_for(sock), ref)


def reuse_port_listener(host: str, port: int) -> Listener:
    """Return the listener of a ``reuse_port`` address, at which each worker has a socket."""
    known = numeric(host)
    if known is None:
        return unreadable_listener(
            (host, port), f"{host!r} is a name: bind gunicorn to a numeric address"
        )
    ref = ListenerRef(listener_tag((known, port)), int(family_of(known)), host=known, port=port)
    return Listener([ReusePortReader(known, port)], ref)


def unreadable_listener(address: Any, why: str) -> Listener:
    """Return a listener that can't be read, for the reason ``why``."""
    return Listener([UnreadableListener(why)], ListenerRef(listener_tag(address), 0, host=why))


def readers_for(sock: Any) -> Sequence[QueueReader]:
    """Return the readers of a socket that this process holds, the cheapest first."""
    if sys.platform != "linux":
        # On other systems the numbers of the socket options have other meanings.
        return (UnreadableListener("this is not Linux"),)
    # Netlink and /proc/net list the sockets of this process's network namespace only.
    elsewhere = netns_cookie.is_elsewhere(sock)
    if sock.family == socket.AF_UNIX:
        unix = (UnixDiag(sock), UnixList(sock))
        return (UnreadableListener(str(ElsewhereError())),) if elsewhere else unix
    drops = Drops()
    second = UnreadableListener(str(ElsewhereError())) if elsewhere else InetDiag(sock, drops)
    return (TcpInfo(sock, drops), second)
