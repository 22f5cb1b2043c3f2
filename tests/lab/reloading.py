"""Reloads of a server, to their end."""

from __future__ import annotations

from tests.lab.server import Server
from tests.lab.waiting import wait_for


def reload_and_wait(server: Server, config: str | None = None) -> None:
    """Reload the config, or another; wait until the former workers have ended and others serve."""
    former = wait_for("workers", server.worker_pids)
    server.reload(config)
    wait_for(
        "new workers", lambda: server.worker_pids() and former.isdisjoint(server.worker_pids())
    )
    server.get()
