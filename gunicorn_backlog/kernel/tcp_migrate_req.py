"""``net.ipv4.tcp_migrate_req``: whether the queue of a closed socket moves to another socket.

Since Linux 5.14 (Documentation/networking/ip-sysctl.rst). The other socket listens at the same
address, with ``SO_REUSEPORT``.
"""

from __future__ import annotations

from pathlib import Path

_PATH = Path("/proc/sys/net/ipv4/tcp_migrate_req")


def migrates(path: Path = _PATH) -> bool:
    """Return the setting of this network namespace; False where the kernel has none."""
    try:
        return path.read_text().strip() not in ("", "0")
    except OSError:
        return False
