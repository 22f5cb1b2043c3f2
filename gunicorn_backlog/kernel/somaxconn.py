"""``net.core.somaxconn``, the kernel's upper bound of all limits."""

from __future__ import annotations

from pathlib import Path


def somaxconn() -> int | None:
    """Return ``net.core.somaxconn`` of this network namespace; None if unreadable."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return None
