"""Points to the Agent: where it is, whether it takes them, and how much fits."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from gunicorn_backlog.config.agent_address import is_disabled
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.agent_socket import AgentSocket, Target
from gunicorn_backlog.dogstatsd.payloads import LONGEST, UDP_UNSPLIT, packed
from gunicorn_backlog.dogstatsd.resolver import Resolver
from gunicorn_backlog.dogstatsd.serializer import Client
from gunicorn_backlog.metrics.points import Point

QUEUE_FULL = "its queue is full"


class AgentClient:
    """The way to one Agent; ``push`` never waits.

    ``error`` says why the last push may not have arrived, QUEUE_FULL among others; None: nothing is
    known against it. ``left_out`` is how many of its points were too long for an Agent. Nothing is
    sent unless it is ``enabled``.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        *,
        former: AgentClient | None = None,
    ) -> None:
        """Keep what the ``former`` found out about the same address: no look-up for each HUP."""
        self.address = settings.address
        self.error: str | None = None
        self.left_out = 0
        self.enabled = not is_disabled(environ)
        self._resolver: Resolver = (
            former._resolver
            if former is not None and former.address == settings.address
            else Resolver(settings.address)
        )
        self._target: Target | None = None
        self._socket: AgentSocket | None = None
        self._client = Client(settings)
        # A Unix socket shows the Agent the sending process. Other pods are the norm in Kubernetes.
        self.may_share_series = (
            settings.address.scheme == "udp"
            and "KUBERNETES_SERVICE_HOST" in environ
            and not self._client.names_its_origin
        )
        self._size = UDP_UNSPLIT if settings.address.scheme == "udp" else LONGEST

    def prepare(self) -> None:
        """Begin to look the Agent's name up, so that the first push knows where to. Never waits."""
        if self.enabled:
            self._resolver.refresh(away=False)

    def push(self, points: list[Point]) -> None:
        """Send the points, in one datagram if they fit; without a way to the Agent drop them."""
        if not self.enabled:
            return
        self._refresh()
        datagrams, self.left_out = packed(self._client.lines(points), self._size)
        try:
            self._send(datagrams)
        except OSError as error:
            self.error = _described(error)
            if self._resolver.turn():
                self._send_to_the_other(datagrams)
        self._refresh()  # if the Agent has just gone, the next push knows where it is now

    def _send(self, datagrams: list[bytes]) -> None:
        """Send the datagrams, and note an error of the socket's. Raises OSError: none arrived."""
        sock = self._connected()
        for number, datagram in enumerate(datagrams):
            sock.deliver(datagram)
            if number == 0 and self._resolver.can_turn and sock.is_refused():
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        sock.note_refusal()
        self.error = _described(sock.error) if sock.error else None
        if sock.broken:
            self.close()
        if isinstance(sock.error, ConnectionRefusedError):
            self._resolver.turn()  # it came too late to send these again

    def _send_to_the_other(self, datagrams: list[bytes]) -> None:
        """Send to localhost's other address; if that fails, too, the first one's error stays."""
        try:
            self._send(datagrams)
        except OSError:
            self._resolver.turn()

    def before_fork(self, until_s: float) -> None:
        """Let a look-up of the Agent's name end, until then or for some milliseconds."""
        self._resolver.before_fork(until_s)

    def close(self) -> None:
        """Close the socket; the next push makes another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _refresh(self) -> None:
        self._resolver.refresh(away=self.error not in (None, QUEUE_FULL))

    def _connected(self) -> AgentSocket:
        """Return a socket to where the Agent is now, without an error. Raises OSError."""
        if self._resolver.target is None:
            raise self._resolver.error or OSError(errno.EINPROGRESS, "its name is being resolved")
        if self._target != self._resolver.target:
            self.close()
            self._target = self._resolver.target
        if self._socket is None:
            self._socket = agent_socket.connect(self.address.scheme, self._target)
        self._socket.error = None
        return self._socket


def _described(error: OSError) -> str:
    if error.errno in agent_socket.FULL:
        return QUEUE_FULL
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"{name} ({error.strerror or error})"
