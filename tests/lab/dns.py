"""Names that lead where a test wants: hosts and name servers that one server alone sees."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.sandbox import require

NAME = "agent.test"
LOOK_UP_S = 10  # how long a look-up hangs
_DNS = 53
_NOBODY = "127.53.255.254"  # no name server is there: a look-up fails at once

_MOUNT = """
set -e
for name in hosts resolv.conf nsswitch.conf; do mount --bind "$0/$name" /etc/$name; done
exec "$@"
"""


class Names:
    """What a server knows of names, in a mount namespace of its own: see ``run_by``."""

    def __init__(self, folder: Path, name_server: str = _NOBODY) -> None:
        require("unshare", "-m", "true")
        self._folder = folder
        self._hosts = folder / "hosts"
        self.forget()
        options = f"options timeout:{LOOK_UP_S} attempts:1"
        (folder / "resolv.conf").write_text(f"nameserver {name_server}\n{options}\n")
        (folder / "nsswitch.conf").write_text("hosts: files dns\n")

    @property
    def run_by(self) -> tuple[str, ...]:
        """The command that runs a program with these names."""
        return ("unshare", "-m", "sh", "-c", _MOUNT, str(self._folder))

    def lead_to(self, host: str) -> None:
        """Let NAME mean another address."""
        # In place: it is the file that is mounted, not its path.
        self._hosts.write_text(f"127.0.0.1 localhost\n{host} {NAME}\n")

    def forget(self) -> None:
        """Let NAME mean nothing."""
        self._hosts.write_text("127.0.0.1 localhost\n")


class SilentNameServer:
    """A name server that is asked and never answers."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._askers: set[tuple[str, int]] = set()

    def bind(self) -> None:
        """Begin to be silent. Raises OSError."""
        self._socket.bind((self.host, _DNS))

    def close(self) -> None:
        """End."""
        self._socket.close()

    @property
    def look_ups(self) -> int:
        """How many look-ups there were: each has a socket of its own, of several questions."""
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
