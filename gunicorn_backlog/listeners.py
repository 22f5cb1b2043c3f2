"""Which listeners the server has, what waits in each, and what it dropped."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.accept_queue import AcceptQueue, QueueError
from gunicorn_backlog.drops import Drops
from gunicorn_backlog.notices import Notices
from gunicorn_backlog.queues import SharedAddress, Way, reason, ways

if TYPE_CHECKING:
    from gunicorn_backlog import arbiter

T = TypeVar("T")


class UnreadableError(Exception):
    """No way to read the listener works; says why not."""


class Listener:
    """One listener, and the ways to read it."""

    def __init__(self, address: Any, ways: Sequence[Way]) -> None:
        self.name = tag_value(address)
        self.read = ways[0].queue  # as a rule it works, ten times a second
        self._ways = ways
        self._drops = Drops()
        with suppress(UnreadableError):  # it will be said when the drops are asked for
            self.dropped()

    def read_otherwise(self) -> AcceptQueue | None:
        """Read the queue in any way; None if it was closed. Raises UnreadableError."""
        return self._first_that_works(lambda way: way.queue())

    def dropped(self) -> int | None:
        """Return the connections dropped since the last call; None if nobody counts them.

        Raises UnreadableError.
        """
        counters = self._first_that_works(lambda way: way.drops())
        if not counters:
            return None
        self._drops.add(counters)
        return self._drops.take()

    def _first_that_works(self, ask: Callable[[Way], T]) -> T | None:
        failed = []
        for way in self._ways:
            try:
                return ask(way)
            except (OSError, QueueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EBADF:
                    return None
                failed.append(f"{way.name}: {reason(error)}")
        raise UnreadableError("; ".join(failed))


class Listeners:
    """All of an arbiter's listeners, looked up anew at each call: HUP replaces them."""

    def __init__(self, server: arbiter.Arbiter, notices: Notices) -> None:
        self._arbiter = server
        self._notices = notices
        self._seen: list[arbiter.Listener] = []
        self._held: Sequence[Listener] = ()
        self._shared: dict[tuple[str, int], Listener] = {}

    def read(self) -> dict[str, AcceptQueue]:
        """Return the queue of each listener that can be read; say once of each that can't."""
        queues = {}
        for listener in self._now():
            try:
                queue = listener.read()
            except (OSError, QueueError):
                queue = self._or_say(listener, "backlog", listener.read_otherwise)
            if queue is not None:
                queues[listener.name] = queue
        return queues

    def dropped(self) -> dict[str, int]:
        """Return the connections that each listener dropped since the last call."""
        counts = {it.name: self._or_say(it, "drops", it.dropped) for it in self._now()}
        return {name: count for name, count in counts.items() if count is not None}

    def _now(self) -> Iterable[Listener]:
        found = self._arbiter.LISTENERS
        if not found and self._arbiter.cfg.reuse_port:
            addresses = [it for it in self._arbiter.cfg.address if isinstance(it, tuple)]
            known = self._shared
            self._shared = {it: known.get(it) or shared(*it) for it in addresses}
            return self._shared.values()
        if found != self._seen:  # its items are compared by identity
            self._seen = list(found)
            self._held = [it for it in map(held, self._seen) if it is not None]
        return self._held

    def _or_say(self, listener: Listener, what: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except UnreadableError as error:
            self._notices.warn(
                f"{what} of {listener.name}",
                f"the {what} of {listener.name} can't be read ({error}): not sent, all else is",
            )
            return None


def held(listener: arbiter.Listener) -> Listener | None:
    """Return a listener that the arbiter holds; None if it was closed, as in a reload."""
    sock: Any = listener.sock
    if sock is None:
        return None
    try:
        return Listener(sock.getsockname(), ways(sock))
    except OSError:
        return None


def shared(host: str, port: int) -> Listener:
    """Return the listener of an address where the workers listen (``reuse_port``)."""
    return Listener((host, port), [SharedAddress(host, port)])


def tag_value(address: Any) -> str:
    """Return a listening socket's address as the value of the tag ``listener``.

    ``127.0.0.1:8000``; ``::1:8000`` (what follows the last colon is the port); the path of a Unix
    socket; ``abstract:name`` of one in the abstract namespace.
    """
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    path = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
    return f"abstract:{path[1:]}" if path.startswith("\0") else path
