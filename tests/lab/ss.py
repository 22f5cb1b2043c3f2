"""The kernel's numbers of listeners, read by ``ss`` of iproute2."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Listening(NamedTuple):
    """A listener's ``Recv-Q`` and ``Send-Q``, as printed by ss."""

    recv_q: int
    send_q: int


def ss(address: str) -> Listening:
    """Return the listener at an address, by ``ss -ltn``."""
    (row,) = [row for row in _rows("-Hltn") if row[3] == address]
    return Listening(int(row[1]), int(row[2]))


def ss_port(port: int) -> list[Listening]:
    """Return all listeners at a port, by ``ss -ltn``."""
    rows = [row for row in _rows("-Hltn") if row[3].endswith(f":{port}")]
    return [Listening(int(row[1]), int(row[2])) for row in rows]


def ss_unix(path: str) -> list[Listening]:
    """Return the listeners at a path, by ``ss -xl``; an abstract name begins with @."""
    rows = [row for row in _rows("-Hxl") if row[4] == path]
    return [Listening(int(row[2]), int(row[3])) for row in rows]


def _rows(options: str) -> list[list[str]]:
    if shutil.which("ss") is None:
        pytest.skip("ss is not installed (Debian: iproute2)")
    done = subprocess.run(["ss", options], capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def enforced(backlog: int) -> int:
    """Return the limit that the kernel enforces after ``listen(backlog)``."""
    return min(backlog, int(Path("/proc/sys/net/core/somaxconn").read_text()))
