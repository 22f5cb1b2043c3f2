"""Log lines for limits that are lower than gunicorn's setting ``backlog``, with the cause."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.log import OnceLogger


class Listens(NamedTuple):
    """A worker that listens again, with a backlog of its own."""

    worker: str
    backlog: int


# By worker class, as in gunicorn's setting: the default of asyncio's ``create_server`` and that of
# aiohttp's ``SockSite``, since the workers pass no other.
_ASGI, _AIOHTTP = Listens("gunicorn's asgi worker", 100), Listens("aiohttp's worker", 128)
LISTENS_WITH = {
    "asgi": _ASGI,
    "gunicorn.workers.gasgi.ASGIWorker": _ASGI,
    "aiohttp.GunicornWebWorker": _AIOHTTP,
    "aiohttp.GunicornUVLoopWebWorker": _AIOHTTP,
    "aiohttp.worker.GunicornWebWorker": _AIOHTTP,
    "aiohttp.worker.GunicornUVLoopWebWorker": _AIOHTTP,
}
RAISE = "raise this sysctl (in a container, that of its network namespace)"
SETTLED_S = 1.0  # a reload replaces config and sockets one after the other


class Limits:
    """Logs once each listener whose limit stays lower than ``backlog``, with the cause."""

    def __init__(self, logger: OnceLogger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._since_s: dict[tuple[str, int, int], float] = {}

    def check(
        self,
        queues: Mapping[str, AcceptQueue],
        backlog: int,
        worker_class: str = "",
        elsewhere: Collection[str] = (),
    ) -> None:
        """Compare each listener's limit with ``backlog``; log a limit that is lower for SETTLED_S.

        :param queues: the accept queues, by the listener's name.
        :param backlog: gunicorn's setting, in connections.
        :param worker_class: gunicorn's setting.
        :param elsewhere: listeners of other network namespaces; each has its own somaxconn.
        """
        low = []
        for listener, queue in queues.items():
            limit = queue.limit if queue.min_limit is None else queue.min_limit
            if limit is not None and limit < backlog:
                low.append((listener, limit, backlog))
        if low or self._since_s:
            now_s = self._clock()
            self._since_s = {case: self._since_s.get(case, now_s) for case in low}
            for case, since_s in self._since_s.items():
                if now_s - since_s >= SETTLED_S:
                    greatest = None if case[0] in elsewhere else somaxconn()
                    name, limit, asked = case
                    text = f"is set to {asked}, the kernel enforces {limit}"
                    why = cause(limit, greatest, worker_class)
                    self._logger.warn(f"limit of {name}", f"the limit of {name} {text}: {why}")


def cause(limit: int, greatest: int | None, worker_class: str) -> str:
    """Return the cause of a limit that is lower than gunicorn's ``backlog``.

    :param greatest: ``net.core.somaxconn`` of the listener's network namespace; None: not known.
    """
    listens = LISTENS_WITH.get(worker_class)
    if listens is not None and limit == listens.backlog:
        return f"{listens.worker} makes asyncio call listen({limit})"
    if greatest is None:
        return "net.core.somaxconn can't be read here"
    if limit == greatest:
        return f"net.core.somaxconn clamps the limit: {RAISE}"
    return f"another listen() call set the limit (net.core.somaxconn is {greatest})"
