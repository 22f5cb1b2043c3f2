"""Points as lines, by the ``datadog`` client; the only file that knows it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from gunicorn_backlog.config import tags
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd.isolated_import import isolated_import
from gunicorn_backlog.dogstatsd.quiet import quiet
from gunicorn_backlog.metrics.points import Point

_LOGGERS = ("datadog.dogstatsd", "datadog.util")
_IMPORT_ENVIRON = {
    # The client's fork handlers serve a client that we don't use, and stay registered for good.
    # They took longer at each fork than all of our own work there (commit 8bed184).
    "DD_DOGSTATSD_DISABLE_FORK_SUPPORT": "1",
    # The import creates a client, which raises ValueError for an invalid URL or port here.
    "DD_DOGSTATSD_URL": None,
    "DD_TELEMETRY_HOST": None,
}
# Keys of tags that separate the series of one pod or host from those of others.
_ORIGINS = frozenset({"container_id", "dd.internal.entity_id", "host", "pod", "pod_name"})
_ENDS_A_FIELD = re.compile(r"[|\s]")


if TYPE_CHECKING:
    from datadog.dogstatsd.base import DogStatsd
else:
    with quiet(*_LOGGERS):
        DogStatsd = isolated_import("datadog.dogstatsd.base", _IMPORT_ENVIRON).DogStatsd


class _Outbox:
    """A socket as far as the client sees one, which keeps what is sent.

    The client logs each failed send, closes the socket and resolves the Agent's name again while
    it holds a lock that ``fork`` waits for. It does none of that with a socket that never fails.
    """

    family = socket.AF_INET

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def getsockopt(self, _level: int, _option: int) -> int:
        """Return SO_TYPE, the only option that the client asks for."""
        return socket.SOCK_DGRAM

    def send(self, octets: bytes) -> int:
        """Keep it."""
        self.sent.append(octets)
        return len(octets)


class Client:
    """The client of some settings: it has no threads, no telemetry, and no part in forks."""

    def __init__(self, settings: Settings) -> None:
        self._outbox = _Outbox()
        with quiet(*_LOGGERS):
            self._client = _client(settings)
        self._client.socket = cast(Any, self._outbox)

    @property
    def names_its_origin(self) -> bool:
        """Whether an Agent can tell this container, pod or host from others."""
        keys = {tag.partition(":")[0] for tag in self._client.constant_tags}
        return bool(self._client._container_id or self._client._external_data or keys & _ORIGINS)

    def lines(self, points: Iterable[Point]) -> list[bytes]:
        """Return a line with its newline for each point."""
        lines: list[bytes] = []
        self._outbox.sent = lines
        for point in points:
            self._report(point)
        return lines

    def _report(self, point: Point) -> None:
        labels = list(point.tags)
        if point.type == "service_check":
            self._client.service_check(point.name, int(point.values[0]), tags=labels)
            return
        # Several values go out packed on one line; the client passes text on as it is.
        value = ":".join(map(str, point.values))
        getattr(self._client, point.type)(point.name, cast(float, value), tags=labels)


def _client(settings: Settings) -> DogStatsd:
    # With paths it reads no variable that says where the Agent is; it never connects to them.
    client = DogStatsd(
        socket_path="/",
        telemetry_socket_path="/",
        namespace=settings.prefix or None,
        disable_telemetry=True,
        track_instance=False,
    )
    # The client put what it reads from the environment into its list; a tag must stand there once.
    client.constant_tags = tags.merge(
        settings.tags, map(tags.clean, client.constant_tags), settings.inherited_tags
    )
    external = client._external_data or ""  # it goes out as it is
    if _ENDS_A_FIELD.search(external) or not external.isprintable():
        client._external_data = None
    return client
