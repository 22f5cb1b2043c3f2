"""The waits of requests in event loops with the setting ``request_wait``: none is skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.scoreboard.wait_histogram import bucket_of
from gunicorn_backlog.workers.exposed_wait import add_to_scope, set_waited_ms
from gunicorn_backlog.workers.received_wait import MS_NS, NOT_KNOWN_NS, Headers, ReceivedWaits

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import WorkerSocket

T = TypeVar("T")


class ExposedWaits(ReceivedWaits):
    """``start`` also sets ``waited_ms()``, of the context that calls the app."""

    __slots__ = ()

    def start(
        self,
        app: Callable[..., T],
        arrived_ns: int | None,
        headers: Callable[[Any], Headers],
        request: Any,
        *args: Any,
    ) -> T:
        """Count and expose the wait of a request, and call its app."""
        self._expose(request, self._count(arrived_ns, headers, request))
        return app(request, *args)

    def _expose(self, request: Any, waited_ms: int | None) -> None:
        set_waited_ms(waited_ms)

    def _count(
        self, arrived_ns: int | None, headers: Callable[[Any], Headers], request: Any
    ) -> int | None:
        if arrived_ns is None:
            return self._count_header(headers, request)
        if arrived_ns == NOT_KNOWN_NS:
            return None
        waited_ms = (self._clock_ns() - arrived_ns + MS_NS // 2) // MS_NS
        self._slot.count_wait(bucket_of(waited_ms))
        return waited_ms


class ScopeWaits(ExposedWaits):
    """``start`` adds the wait to an ASGI scope; ``exposed_asgi`` reads the wait there."""

    __slots__ = ()

    def _expose(self, request: Any, waited_ms: int | None) -> None:
        add_to_scope(request, waited_ms)


def waits_of(
    slot: Slot,
    sockets: Sequence[WorkerSocket],
    *,
    exposes: bool,
    exposed: type[ExposedWaits] = ExposedWaits,
) -> ReceivedWaits:
    """Return the waits of a worker's requests; ``exposes``: the setting ``request_wait``."""
    return exposed(slot, sockets, skips=False) if exposes else ReceivedWaits(slot, sockets)
