"""What the kernel's own tools say: ``ss`` of iproute2."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Listening(NamedTuple):
    """A listener's ``Recv-Q`` and ``Send-Q``, as ss prints them."""

    recv_q: int
    send_q: int


def ss(address: str) -> Listening:
    """Ask ``ss -ltn`` for the listener at that address."""
    if shutil.which("ss") is None:
        pytest.skip("ss is not installed (Debian: iproute2)")
    done = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    (row,) = [row for row in rows if row[3] == address]
    return Listening(int(row[1]), int(row[2]))


def enforced(backlog: int) -> int:
    """Return the limit that the kernel makes of a ``listen(backlog)``."""
    return min(backlog, int(Path("/proc/sys/net/core/somaxconn").read_text()))
