"""Reloads of a server, to their end."""

from __future__ import annotations

from tests.lab.server import Server
from tests.lab.waiting import wait_for


def reload_and_wait(server: Server, config: str | None = None) -> None:
    """Reload the config, or another, and wait until only new workers are there."""
    former = server.worker_pids()
    server.reload(config)

    def done() -> bool:
        present = server.worker_pids()
        return len(present) == len(former) and not present & former

    wait_for(f"new workers; the log: {server.log}", done)
