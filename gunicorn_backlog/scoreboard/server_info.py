"""The arbiter's description of its server in the shared memory, for the inspection commands.

The format is a JSON object in UTF-8: the fields of ``ServerInfo`` by name, listeners as lists. A
reader validates all fields: a worker may have overwritten the text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from gunicorn_backlog.config.tags import clean, printable
from gunicorn_backlog.scoreboard.kind import Kind

TOO_MANY = "there are more warnings than fit here: see the log"


class ServerInfoError(Exception):
    """The text is not a server info."""


class ListenerRef(NamedTuple):
    """Reference to a listener, by which other processes find its accept queue.

    listener: value of the tag ``listener``.
    family: of the socket; 0: the queue can't be found, ``host`` is the reason.
    inode: of the socket; 0: each worker has a socket of its own at ``host`` and ``port``.
    length, limit, drops: the arbiter's last values, where netlink does not find the socket;
        ``drops`` since the creation of the socket.
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
    """An arbiter, its settings, and its warnings.

    kind: the ``Kind`` of the workers that the arbiter forks now.
    watched_since_ns: start of the instrumentation, CLOCK_MONOTONIC.
    agent_error: reason for which the latest push may be lost; empty: none is known.
    warnings: those of our log lines that still hold.
    """

    app: str
    version: str  # of gunicorn_backlog
    gunicorn: str
    worker_class: str
    kind: int
    enabled: bool
    interval_s: float
    backlog: int  # gunicorn's setting
    boot_limit_s: float  # longest time of a worker without a slot
    watched_since_ns: int
    agent: str
    agent_from: str  # the setting or variable that names the Agent
    agent_error: str
    listeners: tuple[ListenerRef, ...]
    warnings: tuple[str, ...]

    def encode(self, most: int) -> bytes:
        """Return the text in at most ``most`` bytes. Raises ServerInfoError.

        A longer text loses its warnings first, then listeners; a warning reports the loss.
        """
        for info in (self, self._replace(warnings=(TOO_MANY,)), *self._shortened()):
            octets = json.dumps(info._asdict(), ensure_ascii=False).encode(errors="replace")
            if len(octets) <= most:
                return octets
        raise ServerInfoError(f"{len(octets)} bytes are more than {most}")

    def _shortened(self) -> Iterator[ServerInfo]:
        """Yield the info with fewer and fewer listeners."""
        there = kept = len(self.listeners)
        while kept:
            kept = kept * 3 // 4
            left_out = f"{kept} of {there} listeners fit here: all are measured"
            yield self._replace(listeners=self.listeners[:kept], warnings=(left_out, TOO_MANY))


_TYPES = get_type_hints(ServerInfo)


def decode(octets: bytes) -> ServerInfo:
    """Return the validated info, with all strings printable. Raises ServerInfoError."""
    try:
        found = json.loads(octets)
        info = ServerInfo(**{name: _checked(found[name], name) for name in ServerInfo._fields})
        Kind(info.kind)
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ServerInfoError(f"a field is not as expected: {type(error).__name__}") from None
    return info


def _checked(value: Any, name: str) -> Any:
    if name == "listeners":
        return tuple(_listener_ref(*fields) for fields in value)
    if name == "warnings":
        return tuple(printable(str(text)) for text in value)
    if _TYPES[name] is float and type(value) is int:
        value = float(value)
    if type(value) is not _TYPES[name] or (type(value) is float and not math.isfinite(value)):
        raise TypeError
    return printable(value) if isinstance(value, str) else value


def _listener_ref(
    listener: str, family: int, inode: int, host: str, port: int, *read: int | None
) -> ListenerRef:
    limits = [(family, 1 << 16), (inode, 1 << 32), (port, 1 << 16)]
    limits += [(number, 1 << 32) for number in read if number is not None]
    if not all(type(number) is int and 0 <= number < limit for number, limit in limits):
        raise TypeError
    if not all(type(text) is str for text in (listener, host)):
        raise TypeError
    return ListenerRef(clean(listener), family, inode, printable(host), port, *read)
