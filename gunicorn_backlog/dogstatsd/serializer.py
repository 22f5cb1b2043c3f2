"""Serialize points with the ``datadog`` client; the only file that imports the client."""

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
    # The client's fork handlers serve a client that we don't use, and cannot be unregistered.
    # At each fork they took longer than all of our handlers (commit 8bed184).
    "DD_DOGSTATSD_DISABLE_FORK_SUPPORT": "1",
    # The import creates a client, which raises ValueError for an invalid URL or port here.
    "DD_DOGSTATSD_URL": None,
    "DD_TELEMETRY_HOST": None,
}
# keys of tags that separate the series of pods and hosts
_ORIGINS = frozenset({"container_id", "dd.internal.entity_id", "host", "pod", "pod_name"})
_ENDS_A_FIELD = re.compile(r"[|\s]")


if TYPE_CHECKING:
    from datadog.dogstatsd.base import DogStatsd
else:
    with quiet(*_LOGGERS):
        DogStatsd = isolated_import("datadog.dogstatsd.base", _IMPORT_ENVIRON).DogStatsd


class _Outbox:
    """A replacement of the client's socket: ``lines`` collects the bytes that the client sends.

    After a failed send the client logs, closes its socket, and resolves the Agent's name while the
    client holds a lock that ``fork`` waits for. A send to this object never fails.
    """

    family = socket.AF_INET

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def getsockopt(self, _level: int, _option: int) -> int:
        """Return the value of SO_TYPE, the only option that the client reads."""
        return socket.SOCK_DGRAM

    def send(self, line: bytes) -> int:
        """Append a line."""
        self.lines.append(line)
        return len(line)


class Serializer:
    """Serializes points with a client that has no threads, no telemetry and no fork handlers."""

    def __init__(self, settings: Settings) -> None:
        self._outbox = _Outbox()
        with quiet(*_LOGGERS):
            self._client = _client(settings)
        self._client.socket = cast(Any, self._outbox)

    @property
    def has_origin(self) -> bool:
        """True if tags or fields distinguish this container, pod or host from others."""
        keys = {tag.partition(":")[0] for tag in self._client.constant_tags}
        return bool(self._client._container_id or self._client._external_data or keys & _ORIGINS)

    def lines(self, points: Iterable[Point]) -> list[bytes]:
        """Return one line of bytes for each point, with its newline."""
        self._outbox.lines = []
        for point in points:
            self._report(point)
        return self._outbox.lines

    def _report(self, point: Point) -> None:
        point_tags = list(point.tags)
        if point.type == "service_check":
            self._client.service_check(point.name, int(point.values[0]), tags=point_tags)
            return
        # The client writes text unchanged: this packs several values into one line.
        value = ":".join(map(str, point.values))
        getattr(self._client, point.type)(point.name, cast(float, value), tags=point_tags)


def _client(settings: Settings) -> DogStatsd:
    # With paths the client reads no address from the environment. The paths are never used.
    client = DogStatsd(
        socket_path="/",
        telemetry_socket_path="/",
        namespace=settings.prefix or None,
        disable_telemetry=True,
        track_instance=False,
    )
    # The client's list has the tags of the environment; merging removes duplicates.
    client.constant_tags = tags.merge(
        settings.tags, map(tags.clean, client.constant_tags), settings.inherited_tags
    )
    external = client._external_data or ""  # the client adds this text unchecked to each line
    if _ENDS_A_FIELD.search(external) or not external.isprintable():
        client._external_data = None
    return client
