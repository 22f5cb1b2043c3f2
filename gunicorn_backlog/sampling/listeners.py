"""Which listeners the server has, what waits in each, and what it dropped."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.kernel.accept_queue import AcceptQueue, QueueError, merge
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.bind import configured, first_listener, tag_text
from gunicorn_backlog.sampling.listener import Listener, UnreadableError
from gunicorn_backlog.sampling.queue_readers import (
    ReusePortReader,
    UnreadableListener,
    family_of,
    numeric,
    readers_for,
)
from gunicorn_backlog.scoreboard.server_info import ListenerRef

if TYPE_CHECKING:
    from gunicorn_backlog import _gunicorn

T = TypeVar("T")


class Listeners:
    """All of an arbiter's listeners, looked up anew at each call: HUP replaces them."""

    def __init__(self, server: _gunicorn.Arbiter, notices: OnceLogger) -> None:
        self._arbiter = server
        self._notices = notices
        self._cfg: _gunicorn.Config | None = None
        self._seen: list[_gunicorn.Listener] = []
        self._listeners: Sequence[Listener] = ()
        self._reads: list[tuple[str, Callable[[], AcceptQueue | None], Listener]] = []
        self._of_closed: dict[str, int] = {}
        self.bind = ""  # the value of the tag ``bind``; empty until a listener was seen

    def read(self) -> dict[str, AcceptQueue]:
        """Return the queue of each listener that can be read; say once of each that can't."""
        queues: dict[str, AcceptQueue] = {}
        server = self._arbiter
        if self._seen != server.LISTENERS or server.cfg is not self._cfg:
            self._look_up()
        for name, read, listener in self._reads:
            try:
                queue = read()
            except (OSError, QueueError):
                queue = self._or_say(listener, "backlog", listener.read_otherwise)
            if queue is not None:
                length, limit = queue[:2]
                listener.keep(queue)
                if limit is None:
                    self._say_without_limit(listener)
                elif length > limit:  # it drops, and may be closed soon
                    self._or_say(listener, "drops", listener.note_drops)
                first = queues.setdefault(name, queue)
                if first is not queue:
                    queues[name] = merge([first, queue])
        return queues

    def dropped(self) -> dict[str, int]:
        """Return the connections that each listener dropped since the last call: in an interval."""
        listeners = self._now()
        counts, self._of_closed = self._of_closed, {}
        for listener in listeners:
            listener.begin_interval()
            self._or_say(listener, "drops", listener.note_drops)
            _add(counts, listener)
        return counts

    def elsewhere(self) -> frozenset[str]:
        """Return the names of those that belong to another network namespace."""
        return frozenset(it.name for it in self._listeners if it.is_elsewhere)

    def places(self) -> tuple[ListenerRef, ...]:
        """Return where each of them is."""
        return tuple(listener.placed() for listener in self._now())

    def _now(self) -> Sequence[Listener]:
        self._look_up()
        return self._listeners

    def _look_up(self) -> None:
        """See which listeners there are, if they are others than last time."""
        found, cfg = self._arbiter.LISTENERS, self._arbiter.cfg
        if found != self._seen or cfg is not self._cfg:  # its items are compared by identity
            for listener in self._listeners:
                with suppress(UnreadableError):
                    listener.note_drops()
                _add(self._of_closed, listener)
            closing = bool(self._seen) and not found
            self._seen, self._cfg = list(found), cfg
            self._listeners = _listeners(self._seen, cfg, closing=closing)
            # Unchanged in a shutdown, and while a HUP closes one socket after the other.
            self.bind = (not closing and first_listener(self._seen, cfg)) or self.bind
            self._reads = [(it.name, it.read, it) for it in self._listeners]

    def _or_say(self, listener: Listener, what: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except UnreadableError as error:
            self._notices.warn(
                f"{what} of {listener.name}",
                f"the {what} of {listener.name} can't be read ({error}): not sent, all else is"
                f"{_and(error.remedies)}",
            )
            return None

    def _say_without_limit(self, listener: Listener) -> None:
        if listener.refused is not None:
            self._notices.warn(
                f"no limit of {listener.name}",
                f"the backlog of {listener.name} is read from /proc/net/unix, which has no limits "
                f"({listener.refused}): its limit is not sent, all else is"
                f"{_and(listener.refused.remedies)}",
            )


def _listeners(
    found: Sequence[_gunicorn.Listener], cfg: _gunicorn.Config, *, closing: bool
) -> list[Listener]:
    """Return the listeners of the arbiter, or of the workers where those listen (``reuse_port``).

    gunicorn 25 and later leaves it to the workers wholly; but after a HUP that changes ``bind`` it
    holds sockets besides, which get their share of the connections.
    """
    sockets: list[Any] = [listener.sock for listener in found if listener.sock is not None]
    if not cfg.reuse_port:
        return [*_held(sockets)]
    addresses = [it for it in cfg.address if isinstance(it, tuple)]
    others = [it for it in cfg.address if not isinstance(it, tuple)]
    why = "with reuse_port each worker listens by itself"
    return [
        *_held(sock for sock in sockets if sock.family == socket.AF_UNIX),
        *(_shared(*address) for address in addresses),
        *(_unreadable(configured(it), why) for it in others if not found and not closing),
    ]


def _held(sockets: Iterable[Any]) -> Iterator[Listener]:
    """Yield the listeners of sockets, but for those that were closed, as in a reload."""
    for sock in sockets:
        with suppress(OSError):
            address, inode = sock.getsockname(), os.fstat(sock.fileno()).st_ino
            port = address[1] if isinstance(address, tuple) else 0
            yield Listener(
                tag_text(address),
                readers_for(sock),
                ListenerRef("", int(sock.family), inode, port=port),
            )


def _shared(host: str, port: int) -> Listener:
    known = numeric(host)
    if known is None:
        return _unreadable((host, port), f"{host!r} is a name: let gunicorn bind to a number")
    place = ListenerRef("", int(family_of(known)), host=known, port=port)
    return Listener(tag_text((known, port)), [ReusePortReader(known, port)], place)


def _unreadable(address: Any, why: str) -> Listener:
    return Listener(tag_text(address), [UnreadableListener(why)], ListenerRef("", 0, host=why))


def _and(remedies: str) -> str:
    return f"; {remedies}" if remedies else ""


def _add(counts: dict[str, int], listener: Listener) -> None:
    count = listener.take_drops()
    if count is not None:
        counts[listener.name] = counts.get(listener.name, 0) + count
