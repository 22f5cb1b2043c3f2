"""The accept queue and the drops of each listener of the server."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.kernel.accept_queue import AcceptQueue, merge
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.bind import configured, first_listener
from gunicorn_backlog.sampling.listener import (
    Listener,
    UnreadableError,
    held_listeners,
    reuse_port_listener,
    unreadable_listener,
)
from gunicorn_backlog.sampling.lost import Lost, UnreadableSocketsError
from gunicorn_backlog.scoreboard.detail_row import DetailState, SocketState
from gunicorn_backlog.scoreboard.server_info import ListenerRef
from gunicorn_backlog.scoreboard.slot import SlotRecord


class Listeners:
    """All listeners of an arbiter, also after a HUP replaced them.

    bind: value of the tag ``bind``, the name of the first listener; empty before the first.
    lost: connections of closed sockets.
    """

    def __init__(self, arbiter: _gunicorn.Arbiter, logger: OnceLogger) -> None:
        self._arbiter = arbiter
        self._logger = logger
        self._cfg: _gunicorn.Config | None = None
        self._found: list[_gunicorn.Listener] = []
        self._listeners: Sequence[Listener] = ()
        self._drops_of_closed: dict[str, int] = {}
        self.bind = ""
        self.lost = Lost()

    def held(self) -> set[int]:
        """Return the inodes of the sockets that the arbiter has."""
        inodes = set()
        for listener in list(self._arbiter.LISTENERS):
            sock: Any = listener.sock
            with suppress(OSError, AttributeError):  # another thread closed it
                inodes.add(os.fstat(sock.fileno()).st_ino)
        return inodes

    def read(self) -> dict[str, AcceptQueue]:
        """Return the queue of each readable listener, by name; log each unreadable one once."""
        queues: dict[str, AcceptQueue] = {}
        for listener in self._current():
            try:
                queue = listener.read()
            except UnreadableError as error:
                self._warn_unreadable("backlog", listener, error)
                continue
            if queue is None:
                continue
            if queue.limit is None:
                self._warn_without_limit(listener)
            elif queue.length > queue.limit:  # full: a close would lose the drops of this interval
                self._note_drops(listener)
            own = not listener.is_reuse_port
            self.lost.sample(listener.ref(), listener.lengths(), own=own)
            name = listener.name
            queues[name] = merge([queues[name], queue]) if name in queues else queue
        return queues

    def dropped(self) -> dict[str, int]:
        """Return the connections that each listener dropped since the last call, by name.

        Ends the interval of each reader, too: costly reads are allowed again.
        """
        listeners = self._current()
        counts, self._drops_of_closed = self._drops_of_closed, {}
        for listener in listeners:
            listener.begin_interval()
            self._note_drops(listener)
            _add_drops(counts, listener)
        return counts

    def count_lost(
        self,
        died: list[tuple[SocketState | None, ...]],
        details: Callable[[], list[tuple[SlotRecord, DetailState]]] | None,
        sampled: Iterable[int],
        *,
        stopping: bool = False,
        killed: bool = False,
    ) -> dict[str, int]:
        """Return the connections that were lost since the last call, by listener, if known.

        Without netlink none are known, which is logged once.

        :param died: the sockets of the workers that have died since the last call.
        :param details: reads all slots with their own sockets; None: there is no shared memory.
        :param sampled: ages of the workers of the latest sample. One that has ended since then may
            be neither a worker nor in ``died``.
        :param stopping: this is the last call: what a worker resets from now on is not known.
        :param killed: gunicorn has killed each worker that it still has.
        """
        lost, held, cfg = self.lost, self.held(), self._arbiter.cfg
        sockets = died
        if details is not None and (cfg.reuse_port or lost.watched - held):
            # Not the rows of former workers: times of closes are comparable for 80 s only.
            ages = {*sampled, *_gunicorn.worker_ages(self._arbiter).values()}
            sockets = died + [detail.sockets for slot, detail in details() if slot.age in ages]
        if cfg.reuse_port:
            lost.note_untracked(sockets, cfg.address)
        closed = [state for states in sockets for state in states if state is not None]
        others_end = not stopping or not self._arbiter.WORKERS
        try:
            at_kill = lost.wait_for_killed(held, closed) if killed and not others_end else {}
            counts = lost.take(held, closed, others_end=others_end, at_kill=at_kill)
        except UnreadableSocketsError as error:
            self._logger.warn("lost", f"lost connections can't be counted ({error}): not sent")
            return {}
        if cfg.reuse_port and details is None:  # the sockets may be another server's
            return {}
        return {listener: count for listener, count in counts.items() if count is not None}

    def own_lengths(self) -> dict[int, int]:
        """Return the length of each worker's own queue by inode; empty without ``reuse_port``."""
        return {
            inode: length
            for listener in self._listeners
            if listener.is_reuse_port
            for inode, length in listener.lengths().items()
        }

    def elsewhere(self) -> frozenset[str]:
        """Return the names of listeners that belong to another network namespace."""
        return frozenset(listener.name for listener in self._listeners if listener.is_elsewhere)

    def refs(self) -> tuple[ListenerRef, ...]:
        """Return a reference to each listener, for other processes."""
        return tuple(listener.ref() for listener in self._current())

    def _current(self) -> Sequence[Listener]:
        """Return the listeners; create them again if the arbiter's listeners or config changed."""
        if self._found != self._arbiter.LISTENERS or self._arbiter.cfg is not self._cfg:
            self._replace()
        return self._listeners

    def _replace(self) -> None:
        for listener in self._listeners:
            with suppress(UnreadableError):
                listener.note_drops()
            _add_drops(self._drops_of_closed, listener)
        found, cfg = list(self._arbiter.LISTENERS), self._arbiter.cfg
        closing = bool(self._found) and not found
        self._found, self._cfg = found, cfg
        self._listeners = list(_listeners(found, cfg, closing=closing))
        # Unchanged in a shutdown, and while a HUP closes one socket after the other.
        self.bind = (not closing and first_listener(found, cfg)) or self.bind

    def _note_drops(self, listener: Listener) -> None:
        try:
            listener.note_drops()
        except UnreadableError as error:
            self._warn_unreadable("drops", listener, error)

    def _warn_unreadable(self, what: str, listener: Listener, error: UnreadableError) -> None:
        self._logger.warn(
            f"{what} of {listener.name}",
            f"the {what} of {listener.name} can't be read ({error}): not sent, all other metrics "
            f"are{_and(error.remedies)}",
        )

    def _warn_without_limit(self, listener: Listener) -> None:
        if listener.refused is not None:
            self._logger.warn(
                f"no limit of {listener.name}",
                f"the backlog of {listener.name} is read from /proc/net/unix, which has no limits "
                f"({listener.refused}): its limit is not sent, all other metrics are"
                f"{_and(listener.refused.remedies)}",
            )


def _listeners(
    found: Sequence[_gunicorn.Listener], cfg: _gunicorn.Config, *, closing: bool
) -> Iterator[Listener]:
    """Yield the arbiter's listeners; with ``reuse_port`` the workers' addresses.

    Since gunicorn 25 only the workers listen with ``reuse_port``. After a HUP that changes ``bind``
    the arbiter holds sockets, too, and these receive a share of the connections.
    """
    sockets: list[Any] = [listener.sock for listener in found if listener.sock is not None]
    if not cfg.reuse_port:
        yield from held_listeners(sockets)
        return
    yield from held_listeners(sock for sock in sockets if sock.family == socket.AF_UNIX)
    for address in cfg.address:
        if isinstance(address, tuple):
            yield reuse_port_listener(*address)
        elif not found and not closing:
            why = "with reuse_port each worker has a socket of its own"
            yield unreadable_listener(configured(address), why)


def _add_drops(counts: dict[str, int], listener: Listener) -> None:
    count = listener.take_drops()
    if count is not None:
        counts[listener.name] = counts.get(listener.name, 0) + count


def _and(remedies: str) -> str:
    return f"; {remedies}" if remedies else ""
