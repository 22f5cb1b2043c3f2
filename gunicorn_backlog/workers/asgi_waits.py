"""The waits of ASGI workers: hooks where a request's head has been parsed.

Each request gets a callable of its own instead of the app. The callable carries the time of
arrival until the server calls it.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from gunicorn_backlog.workers.received_wait import Headers, ReceivedWaits

_UVICORN_PROTOCOLS = frozenset(
    {
        ("uvicorn.protocols.http.h11_impl", "H11Protocol"),
        ("uvicorn.protocols.http.httptools_impl", "HttpToolsProtocol"),
    }
)


def measure_gunicorn(waits: ReceivedWaits) -> None:
    """Wrap ``ASGIProtocol._on_headers_complete``, since gunicorn 25, in this process.

    gunicorn looks up the method for each connection, and the protocol's ``app`` for each request.
    The streams of HTTP/2 do not call the method. After an upgrade to HTTP/2 in cleartext, since
    gunicorn 27, all streams call the protocol's ``app``.
    """
    module = sys.modules.get("gunicorn.asgi.protocol")
    protocol: Any = getattr(module, "ASGIProtocol", None)
    on_headers_complete = getattr(protocol, "_on_headers_complete", None)
    if on_headers_complete is None:
        return

    start, read_ns = waits.start, waits.read_ns

    def on_headers_complete_measured(self: Any) -> Any:
        app, result = self.worker.asgi, on_headers_complete(self)
        if getattr(self, "_h2c_upgrade_settings", None) is None:
            app = partial(start, app, read_ns(self.transport), _headers)
        self.app = app
        return result

    protocol._on_headers_complete = on_headers_complete_measured
    waits.begin()


def measure_uvicorn(config: Any, waits: ReceivedWaits) -> None:
    """Replace the protocol class of a loaded config by a subclass.

    uvicorn's protocols read their attribute ``app`` once for each request, when the head has been
    parsed. Other protocols than those for h11 and httptools are not measured.
    """
    protocol = config.http_protocol_class
    bases = {(base.__module__, base.__name__) for base in getattr(protocol, "__mro__", ())}
    if bases & _UVICORN_PROTOCOLS:
        config.http_protocol_class = _measured(protocol, waits)
        waits.begin()


def _measured(protocol: Any, waits: ReceivedWaits) -> type:
    start, read_ns = waits.start, waits.read_ns

    def get_app(self: Any) -> Any:
        return partial(start, self._gunicorn_backlog_app, read_ns(self.transport), _headers)

    def set_app(self: Any, app: Any) -> None:
        # Not in ``self.__dict__``: CPython then reads all attributes of the instance slowly.
        self._gunicorn_backlog_app = app

    def handle_websocket_upgrade(self: Any, *args: Any) -> None:
        """Hand the time of arrival to the protocol for websockets, which has the app, too."""
        arrived_ns = read_ns(self.transport)
        protocol.handle_websocket_upgrade(self, *args)
        websocket = self.transport.get_protocol()
        if websocket is not self and hasattr(websocket, "app"):
            websocket.app = partial(start, websocket.app, arrived_ns, _headers)

    names = ("__module__", "__qualname__", "__doc__")
    return type(
        protocol.__name__,
        (protocol,),
        {name: getattr(protocol, name) for name in names}
        | {"app": property(get_app, set_app), "handle_websocket_upgrade": handle_websocket_upgrade},
    )


def _headers(scope: Any) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
