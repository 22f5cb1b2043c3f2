"""Host names and name servers that only one server under test can see."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.sandbox import require

NAME = "agent.test"
LOOK_UP_S = 10  # until a look-up without an answer fails
_DNS = 53
_REFUSING = "127.53.255.254"  # without a name server: a look-up fails at once

_MOUNT = """
set -e
for name in hosts resolv.conf nsswitch.conf; do mount --bind "$0/$name" /etc/$name; done
exec "$@"
"""


class Names:
    """Host names of one server, in a mount namespace of its own.

    ``run_by`` is the command that runs the server.
    """

    def __init__(self, folder: Path, name_server: str = _REFUSING) -> None:
        require("unshare", "-m", "true")
        self._folder = folder
        self._hosts = folder / "hosts"
        self.forget()
        options = f"options timeout:{LOOK_UP_S} attempts:1"
        (folder / "resolv.conf").write_text(f"nameserver {name_server}\n{options}\n")
        (folder / "nsswitch.conf").write_text("hosts: files dns\n")

    @property
    def run_by(self) -> tuple[str, ...]:
        """Command that runs a program with these names."""
        return ("unshare", "-m", "sh", "-c", _MOUNT, str(self._folder))

    def lead_to(self, host: str) -> None:
        """Set the address of NAME."""
        # Written in place, because the file is mounted, not its path.
        self._hosts.write_text(f"127.0.0.1 localhost\n{host} {NAME}\n")

    def forget(self) -> None:
        """Remove the address of NAME."""
        self._hosts.write_text("127.0.0.1 localhost\n")


class SilentNameServer:
    """A name server that receives queries and never answers."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._askers: set[tuple[str, int]] = set()

    def bind(self) -> None:
        """Bind the port. Raises OSError."""
        self._socket.bind((self.host, _DNS))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    @property
    def look_ups(self) -> int:
        """Number of look-ups: each has one socket for all of its queries."""
        with suppress(BlockingIOError):
            while True:
                self._askers.add(self._socket.recvfrom(512)[1])
        return len(self._askers)


@contextmanager
def silent_name_server() -> Iterator[SilentNameServer]:
    """Run a name server at a loopback address that no other test process has."""
    high, low = divmod(os.getpid() % 65_000, 256)
    server = SilentNameServer(f"127.53.{high}.{low}")
    try:
        server.bind()
    except OSError as error:
        pytest.skip(f"port {_DNS} of {server.host}: {error}")
    try:
        yield server
    finally:
        server.close()
