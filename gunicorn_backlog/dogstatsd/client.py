"""Push points to the Agent: serialize, pack, resolve, send."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from gunicorn_backlog.config.agent_address import is_disabled
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.agent_socket import AgentSocket, Target
from gunicorn_backlog.dogstatsd.payloads import MAX_BYTES, UDP_BYTES, pack
from gunicorn_backlog.dogstatsd.resolver import Resolver
from gunicorn_backlog.dogstatsd.serializer import Serializer
from gunicorn_backlog.metrics.points import Point

QUEUE_FULL = "its queue is full"


class AgentClient:
    """Pushes points to one Agent, without waiting.

    ``address``: the Agent's. ``enabled``: false if DD_DOGSTATSD_DISABLE is set; then nothing is
    sent. ``error``: the reason why the latest push may not have arrived, or None. ``left_out``:
    number of points of the latest push that were too long for an Agent. ``may_share_series``: the
    Agent may be unable to distinguish this pod from others. ``resolver``: of the Agent's name.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        *,
        former: AgentClient | None = None,
    ) -> None:
        """Connect to nothing yet.

        :param former: the client before a reload. With the same address its resolver is reused,
            and no look-up is needed.
        """
        self.address = settings.address
        self.error: str | None = None
        self.left_out = 0
        self.enabled = not is_disabled(environ)
        self.resolver: Resolver = (
            former.resolver
            if former is not None and former.address == settings.address
            else Resolver(settings.address)
        )
        self._target: Target | None = None  # of the socket
        self._socket: AgentSocket | None = None
        self._serializer = Serializer(settings)
        # Over a Unix socket the kernel gives the Agent the sender's pid. Over UDP the sender is
        # unknown, and other pods of a Kubernetes node may send the same series.
        self.may_share_series = (
            settings.address.scheme == "udp"
            and "KUBERNETES_SERVICE_HOST" in environ
            and not self._serializer.has_origin
        )
        self._payload_bytes = UDP_BYTES if settings.address.scheme == "udp" else MAX_BYTES

    def prepare(self) -> None:
        """Begin the look-up of the Agent's name; the first push needs its result."""
        if self.enabled:
            self.resolver.refresh(unreachable=False)

    def push(self, points: list[Point]) -> None:
        """Send points, in one payload if they fit; drop them if the Agent is unreachable."""
        if not self.enabled:
            return
        self._refresh()
        payloads, self.left_out = pack(self._serializer.lines(points), self._payload_bytes)
        try:
            self._send(payloads)
        except OSError as error:
            self.error = _describe(error)
            if self.resolver.switch_loopback():
                self._send_to_other_loopback(payloads)
        self._refresh()  # after a failed push: the next push may have a new target

    def _send(self, payloads: list[bytes]) -> None:
        """Send payloads, and set ``error``. Raises OSError if none arrived."""
        sock = self._connected()
        for number, payload in enumerate(payloads):
            sock.deliver(payload)
            if number == 0 and self.resolver.is_loopback:
                self._raise_if_refused(sock)
        sock.read_error()
        self.error = _describe(sock.error) if sock.error else None
        if sock.broken:
            self.close()
        if isinstance(sock.error, ConnectionRefusedError):
            self.resolver.switch_loopback()  # for the next push: some of these have arrived

    def _raise_if_refused(self, sock: AgentSocket) -> None:
        code = sock.read_error()
        if code == errno.ECONNREFUSED:
            raise ConnectionRefusedError(code, os.strerror(code))

    def _send_to_other_loopback(self, payloads: list[bytes]) -> None:
        """Send to localhost's other address; after a failure ``error`` has the first address's."""
        try:
            self._send(payloads)
        except OSError:
            self.resolver.switch_loopback()

    def close(self) -> None:
        """Close the socket; the next push opens another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _refresh(self) -> None:
        self.resolver.refresh(unreachable=self.error not in (None, QUEUE_FULL))

    def _connected(self) -> AgentSocket:
        """Return a socket to the current target, with its error reset. Raises OSError."""
        if self.resolver.target is None:
            raise self.resolver.error or OSError(errno.EINPROGRESS, "the name is being resolved")
        if self._target != self.resolver.target:
            self.close()
            self._target = self.resolver.target
        if self._socket is None:
            self._socket = agent_socket.connect(self.address.scheme, self._target)
        self._socket.error = None
        return self._socket


def _describe(error: OSError) -> str:
    if error.errno in agent_socket.FULL:
        return QUEUE_FULL
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return f"{name} ({error.strerror or error})"
