"""What the arbiter says of itself in the shared memory, for whoever looks into it from outside.

It is the UTF-8 text of a JSON object: the fields of ``ServerInfo`` by name, places as lists. A
reader trusts none of it: a worker that ran amok may have written it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from gunicorn_backlog.config.tags import clean, printable
from gunicorn_backlog.scoreboard.slot import Kind

TOO_MANY = "there are more warnings than find room here: see the log"


class ServerInfoError(Exception):
    """What is there is not what an arbiter says of itself."""


class ListenerRef(NamedTuple):
    """Where a listener's queue is to be found: by its socket's ``inode``, in all of Linux's tools.

    Inode 0: each worker listens by itself at ``host`` and ``port``. Family 0: it can't be found,
    ``host`` says why not. ``listener`` is the tag's value. ``length``, ``limit`` and ``drops`` (of
    the socket since it was made) are what the arbiter read last, where netlink does not find it.
    """

    listener: str
    family: int
    inode: int = 0
    host: str = ""
    port: int = 0
    length: int | None = None
    limit: int | None = None
    drops: int | None = None


class ServerInfo(NamedTuple):
    """An arbiter: what it is, how it watches its workers, and what it could not do.

    ``kind`` is how the workers that it forks now are watched, ``watched_since_ns`` when that began
    (CLOCK_MONOTONIC). ``agent_error`` says why its latest push may not have arrived; empty: nothing
    is known against it. ``warnings`` are our lines in its log, less those that are over.
    """

    app: str
    version: str  # of gunicorn_backlog
    gunicorn: str
    worker_class: str
    kind: int
    enabled: bool
    interval_s: float
    backlog: int  # asked for, of each listener
    boot_limit_s: float  # a worker has a slot by then
    watched_since_ns: int
    agent: str
    agent_from: str  # the setting or variable that names the Agent
    agent_error: str
    listeners: tuple[ListenerRef, ...]
    warnings: tuple[str, ...]

    def encode(self, most: int) -> bytes:
        """Return it in ``most`` bytes at the most: without the warnings, if they are too many.

        If they still are, listeners are left out, and that is said. Raises ServerInfoError.
        """
        for said in (self, self._replace(warnings=(TOO_MANY,)), *self._shortened()):
            octets = json.dumps(said._asdict(), ensure_ascii=False).encode(errors="replace")
            if len(octets) <= most:
                return octets
        raise ServerInfoError(f"{len(octets)} bytes are more than {most}")

    def _shortened(self) -> Iterator[ServerInfo]:
        """Yield it with ever less listeners."""
        there = kept = len(self.listeners)
        while kept:
            kept = kept * 3 // 4
            left_out = f"{kept} of {there} listeners find room here: all are measured"
            yield self._replace(listeners=self.listeners[:kept], warnings=(left_out, TOO_MANY))


_TYPES = get_type_hints(ServerInfo)


def decode(octets: bytes) -> ServerInfo:
    """Return what was encoded, printable throughout. Raises ServerInfoError."""
    try:
        found = json.loads(octets)
        about = ServerInfo(**{name: _as_told(found[name], name) for name in ServerInfo._fields})
        Kind(about.kind)
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ServerInfoError(f"it is not as it should be: {type(error).__name__}") from None
    return about


def _as_told(value: Any, name: str) -> Any:
    if name == "listeners":
        return tuple(_place(*it) for it in value)
    if name == "warnings":
        return tuple(printable(str(it)) for it in value)
    if _TYPES[name] is float and type(value) is int:
        value = float(value)
    if type(value) is not _TYPES[name] or (type(value) is float and not math.isfinite(value)):
        raise TypeError
    return printable(value) if isinstance(value, str) else value


def _place(
    listener: str, family: int, inode: int, host: str, port: int, *read: int | None
) -> ListenerRef:
    limits = [(family, 1 << 16), (inode, 1 << 32), (port, 1 << 16)]
    limits += [(it, 1 << 32) for it in read if it is not None]
    if not all(type(it) is int and 0 <= it < limit for it, limit in limits):
        raise TypeError
    if not all(type(it) is str for it in (listener, host)):
        raise TypeError
    return ListenerRef(clean(listener), family, inode, printable(host), port, *read)
