"""A client of HTTP/2: several requests at a time on one connection."""

from __future__ import annotations

import socket
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, StreamEnded

from tests.lab.server import Server


class Http2Client:
    """One connection, by TLS or in clear text with prior knowledge. Use it as a context manager."""

    def __init__(self, server: Server, *, tls: bool = True) -> None:
        """Connect and send the preface. Raises OSError."""
        self._socket = server.connect()
        if tls:
            self._socket = _wrapped(self._socket)
        self._connection = H2Connection(H2Configuration(client_side=True))
        self._connection.initiate_connection()
        self._send()

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def get(self, path: str) -> int:
        """Send a request, and return the number of its stream."""
        stream = self._connection.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "a")]
        self._connection.send_headers(stream, headers, end_stream=True)
        self._send()
        return stream

    def wait(self, stream: int) -> None:
        """Return after the response of that stream. Raises OSError."""
        while True:
            octets = self._socket.recv(65536)
            if not octets:
                raise ConnectionError("the server closed the connection")
            events = self._connection.receive_data(octets)
            self._send()
            if any(isinstance(event, ConnectionTerminated) for event in events):
                raise ConnectionError("the server ended the connection")
            if any(
                isinstance(event, StreamEnded) and event.stream_id == stream for event in events
            ):
                return

    def _send(self) -> None:
        self._socket.sendall(self._connection.data_to_send())


def _wrapped(sock: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    wrapped = context.wrap_socket(sock)
    assert wrapped.selected_alpn_protocol() == "h2"
    return wrapped
