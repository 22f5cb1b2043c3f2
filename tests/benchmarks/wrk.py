"""Requests per second, measured by ``wrk``."""

from __future__ import annotations

import re
import shutil
import subprocess

from tests.lab.server import Server

CONNECTIONS = 4


def is_installed() -> bool:
    """Return whether ``wrk`` is installed."""
    return shutil.which("wrk") is not None


def requests_per_second(server: Server, seconds: int) -> float:
    """Return the requests per second of CONNECTIONS connections from one thread of ``wrk``."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://{server.address}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr, server.log[-2000:])
    (rate,) = re.findall(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    assert "Non-2xx" not in done.stdout, done.stdout
    return float(rate)
