"""Points to the Agent, through the ``datadog`` client; the only file that knows it."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import cast

from datadog.dogstatsd.base import DogStatsd

from gunicorn_backlog import agent_socket, tags
from gunicorn_backlog.agent_socket import AgentSocket
from gunicorn_backlog.metrics import Point
from gunicorn_backlog.settings import Settings

RESOLVE_EVERY_S = 60.0  # the name may come to mean another address without any send failing

_DISABLED = frozenset({"True", "true", "yes", "1"})  # of DD_DOGSTATSD_DISABLE, as the client's


class Agent:
    """The way to one Agent: ``resolve`` may wait for the resolver, ``push`` never waits.

    ``error`` says why the last push may not have arrived; None: nothing is known against it.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        """Make a client that has no threads, no telemetry, and no part in the process's forks."""
        self.address = settings.address
        self.error: str | None = None
        self._enabled = environ.get("DD_DOGSTATSD_DISABLE") not in _DISABLED
        self._target: agent_socket.Target | None = None
        self._resolved_s = 0.0
        self._socket: AgentSocket | None = None
        self._client = _client(settings)

    def resolve(self, now_s: float) -> None:
        """Look up the Agent's name, each minute, and more often while the Agent is away.

        Call it where blocking is allowed. ``now_s`` is a monotonic clock's.
        """
        fresh = now_s - self._resolved_s < RESOLVE_EVERY_S
        if not self._enabled or (self._target and fresh and self.error is None):
            return
        try:
            target = agent_socket.resolve(self.address)
        except OSError as error:
            self.error = _described(error)
            return
        self._resolved_s = now_s
        if target != self._target:
            self._target = target
            self.close()

    def push(self, points: list[Point]) -> None:
        """Send the points, in one datagram if they fit; without a way to the Agent drop them."""
        if not self._enabled or self._target is None:
            return
        try:
            sock = self._socket or self._connect(self._target)
        except OSError as error:
            self.error = _described(error)
            return
        sock.error = None
        with self._client:
            for point in points:
                self._report(point)
        self.error = _described(sock.error) if sock.error else None
        if sock.broken:
            self.close()

    def close(self) -> None:
        """Close the socket; the next push makes another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._client.socket = None

    def _connect(self, target: agent_socket.Target) -> AgentSocket:
        self._socket = agent_socket.connect(self.address.scheme, target)
        self._client.socket = self._socket
        return self._socket

    def _report(self, point: Point) -> None:
        labels = list(point.tags)
        if point.type == "service_check":
            self._client.service_check(point.name, point.values[0], tags=labels)
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
    return client


def _described(error: OSError) -> str:
    if error.errno in agent_socket.FULL:
        return "its queue is full"
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"{name} ({error.strerror or error})"
