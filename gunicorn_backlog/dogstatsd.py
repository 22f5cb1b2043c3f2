"""Points to the Agent, through the ``datadog`` client; the only file that knows it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from gunicorn_backlog import agent_socket, tags
from gunicorn_backlog.address import is_disabled
from gunicorn_backlog.agent_socket import AgentSocket, Target
from gunicorn_backlog.import_apart import import_apart
from gunicorn_backlog.metrics import Point
from gunicorn_backlog.resolver import Resolver
from gunicorn_backlog.settings import Settings

if TYPE_CHECKING:
    from datadog.dogstatsd.base import DogStatsd
else:
    DogStatsd = import_apart("datadog.dogstatsd.base").DogStatsd

_ENDS_A_FIELD = re.compile(r"[|\s]")

QUEUE_FULL = "its queue is full"


class Agent:
    """The way to one Agent; ``push`` never waits.

    ``error`` says why the last push may not have arrived, QUEUE_FULL among others; None: nothing is
    known against it. Nothing is sent unless it is ``enabled``.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        *,
        former: Agent | None = None,
    ) -> None:
        """Make a client that has no threads, no telemetry, and no part in the process's forks.

        It knows what the ``former`` knew of the same address: a name is not looked up for each HUP.
        """
        self.address = settings.address
        self.error: str | None = None
        self.enabled = not is_disabled(environ)
        self._resolver: Resolver = (
            former._resolver
            if former is not None and former.address == settings.address
            else Resolver(settings.address)
        )
        self._target: Target | None = None
        self._socket: AgentSocket | None = None
        self._client = _client(settings)

    def prepare(self) -> None:
        """Begin to look the Agent's name up, so that the first push knows where to. Never waits."""
        if self.enabled:
            self._resolver.refresh(away=False)

    def push(self, points: list[Point]) -> None:
        """Send the points, in one datagram if they fit; without a way to the Agent drop them."""
        if not self.enabled:
            return
        self._refresh()
        try:
            self._send(points)
        except OSError as error:
            self.error = _described(error)
        self._refresh()  # if the Agent has just gone, the next push knows where it is now

    def _send(self, points: list[Point]) -> None:
        """Send the points, and note an error of the socket's. Raises OSError if there is none."""
        sock = self._connected()
        sock.error = None
        with self._client:
            for point in points:
                self._report(point)
        sock.note_refusal()
        self.error = _described(sock.error) if sock.error else None
        if sock.broken:
            self.close()

    def before_fork(self, until_s: float) -> None:
        """Let a look-up of the Agent's name end, until then or for some milliseconds."""
        self._resolver.before_fork(until_s)

    def close(self) -> None:
        """Close the socket; the next push makes another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._client.socket = None

    def _refresh(self) -> None:
        self._resolver.refresh(away=self.error not in (None, QUEUE_FULL))

    def _connected(self) -> AgentSocket:
        """Return a socket to where the Agent is now. Raises OSError."""
        if self._resolver.target is None:
            raise self._resolver.error or OSError(errno.EINPROGRESS, "its name is being resolved")
        if self._target != self._resolver.target:
            self.close()
            self._target = self._resolver.target
        if self._socket is None:
            self._socket = agent_socket.connect(self.address.scheme, self._target)
            self._client.socket = self._socket
        return self._socket

    def _report(self, point: Point) -> None:
        labels = list(point.tags)
        if point.type == "service_check":
            self._client.service_check(point.name, int(point.values[0]), tags=labels)
            return
        # Several values go out packed on one line; the client passes text on as it is.
        value = ":".join(map(str, point.values))
        getattr(self._client, point.type)(point.name, cast(float, value), tags=labels)


def _client(settings: Settings) -> DogStatsd:
    address = settings.address
    udp = address.scheme == "udp"
    client = DogStatsd(
        host=address.host if udp else None,
        port=address.port if udp else None,
        socket_path=None if udp else str(address),
        namespace=settings.prefix or None,
        disable_telemetry=True,
        track_instance=False,
    )
    # The client put what it reads from the environment into its list; a tag must stand there once.
    client.constant_tags = tags.merge(
        settings.tags, map(tags.clean, client.constant_tags), settings.inherited_tags
    )
    if _ENDS_A_FIELD.search(client._external_data or ""):  # it goes out as it is
        client._external_data = None
    return client


def _described(error: OSError) -> str:
    if error.errno in agent_socket.FULL:
        return QUEUE_FULL
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"{name} ({error.strerror or error})"
