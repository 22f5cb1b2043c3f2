"""Command lines that run a program in a restricted environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# An open folder with the needed folders is mounted over one that others may not enter.
_OPEN_THE_WAY = """
set -e
closed=$1; shift
if [ -n "$closed" ]; then
  mount -t tmpfs none /mnt
  n=0; for path in $NEEDED; do mkdir /mnt/$n; mount --bind "$path" /mnt/$n; n=$((n+1)); done
  mount -t tmpfs -o mode=755 none "$closed"
  n=0; for path in $NEEDED; do mkdir -p "$path"; mount --bind /mnt/$n "$path"; n=$((n+1)); done
fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all "$@"
"""

_REFUSE = """
import errno, os, sys
from pyseccomp import ALLOW, EQ, ERRNO, Arg, SyscallFilter
rules = {
    "TCP_INFO": ("getsockopt", Arg(1, EQ, 6), Arg(2, EQ, 11)),
    "SO_MEMINFO": ("getsockopt", Arg(1, EQ, 1), Arg(2, EQ, 55)),
    "netlink": ("socket", Arg(0, EQ, 16)),
    "memfd": ("memfd_create",),
}
refused = SyscallFilter(ALLOW)
for name in sys.argv[1].split(","):
    name, _, code = name.partition("=")
    refused.add_rule(ERRNO(getattr(errno, code or "EPERM")), *rules[name])
refused.load()
os.execvp(sys.argv[2], sys.argv[2:])
"""


def refusing(*names: str) -> tuple[str, ...]:
    """Return a command line that refuses TCP_INFO, SO_MEMINFO, netlink or memfd by seccomp.

    With EPERM, or with another errno: ``netlink=EAFNOSUPPORT`` corresponds to systemd's
    RestrictAddressFamilies=.
    """
    pytest.importorskip(
        "pyseccomp", reason="pyseccomp or its library (Debian: libseccomp2) is missing"
    )
    return (sys.executable, "-c", _REFUSE, ",".join(names))


def as_nobody(*needed: Path) -> tuple[str, ...]:
    """Return a command line for uid 65534 without capabilities; ``needed``: folders to read."""
    require("unshare", "-m", "true")
    paths = [Path(sys.base_prefix), Path(sys.prefix), ROOT, *needed]
    return (
        *("env", f"NEEDED={' '.join(map(str, paths))}"),
        *("unshare", "-m", "sh", "-c", _OPEN_THE_WAY, "sh", _closed(paths)),
    )


def _closed(paths: list[Path]) -> str:
    """Return the first folder above the paths that other users may not enter."""
    for path in paths:
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & 0o001:
                return str(folder)
    return ""


def as_pid_1() -> tuple[str, ...]:
    """Return a command line for the first process of a pid namespace."""
    require("unshare", "-p", "-f", "--mount-proc", "true")
    return ("unshare", "-p", "-f", "--mount-proc", "--kill-child")


def without_proc() -> tuple[str, ...]:
    """Return a command line with an empty /proc."""
    require("unshare", "-m", "true")
    return ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")


def on_read_only_files() -> tuple[str, ...]:
    """Return a command line with read-only file systems, except /dev/shm."""
    require("unshare", "-m", "true")
    script = 'mount -o remount,bind,ro / && mount -t tmpfs none /dev/shm && exec "$@"'
    return ("unshare", "-m", "sh", "-c", script, "sh")


def with_slow_open(path: str, delay_ms: int) -> tuple[str, ...]:
    """Return a command line that delays each open of that file."""
    require("strace", "-V")
    delay = f"inject=openat:delay_enter={1000 * delay_ms}"
    what = ("-P", path, "-e", "trace=openat", "-e", delay)
    # With a filter in the kernel strace stops no other system call, which would take far longer.
    return ("strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *what)


def with_false_time(offset: Path) -> dict[str, str]:
    """Return variables that shift a program's time of day by the file's content (``+3600``).

    The monotonic clock is not shifted.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("libfaketime is not installed (Debian: libfaketime)")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def require(*command: str) -> None:
    """Skip the test if the command fails for lack of a privilege or a tool."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()}")


class Network:
    """A network namespace with loopback only."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def inside(self, *command: str) -> tuple[str, ...]:
        """Return the command line that runs the command in the namespace."""
        return ("nsenter", "--target", str(self._pid), "--net", *command)

    def run(self, *command: str) -> str:
        """Run a command in the namespace, and return its output."""
        inside = self.inside(*command)
        return subprocess.run(inside, capture_output=True, text=True, check=True).stdout

    def set_somaxconn(self, value: int) -> None:
        """Set the namespace's ``net.core.somaxconn``."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/net/core/somaxconn")

    def listen_drops(self) -> int:
        """Return nstat's ``ListenDrops``."""
        (line,) = [
            line
            for line in self.run("nstat", "-az", "TcpExtListenDrops").splitlines()
            if line.startswith("TcpExtListenDrops")
        ]
        return int(line.split()[1])


@contextmanager
def network() -> Iterator[Network]:
    """Create a network namespace; skip the test where this is not allowed."""
    require("unshare", "-n", "true")
    require("nstat", "-V")
    script = "ip link set lo up && echo ready && exec sleep 600"
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        yield Network(holder.pid)
    finally:
        holder.kill()
        holder.communicate()
