"""What one sample of a listener costs, by kind, beside the bare system call."""

from __future__ import annotations

import logging
import os
import platform
import socket
import statistics
import struct
import tempfile
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from gunicorn_backlog.listeners import Listeners
from gunicorn_backlog.notices import Notices
from tests.lab.arbiter import Arbiter, Cfg, Listener

ROUNDS = 31
CALLS = 2000
TCP_INFO = 11
UNPACK = struct.Struct("=B7x16xII").unpack


def reading(*sockets: socket.socket, **cfg: Any) -> Callable[[], object]:
    """Return a function that samples the listeners of an arbiter with these sockets."""
    arbiter = Arbiter([Listener(sock) for sock in sockets], cfg=Cfg(**cfg))
    listeners = Listeners(arbiter, Notices(logging.getLogger("benchmark")))
    return listeners.read


def tcp(stack: ExitStack, address: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
    """Return a listening TCP socket that shares its address."""
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    sock.listen(5)
    return sock


def main() -> None:
    """Measure all in turns, and print medians."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        one = tcp(stack)
        sixteen = [tcp(stack) for _ in range(16)]
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"{folder}/app.sock")
        unix.listen(5)
        shared = tcp(stack)
        for _ in range(3):
            tcp(stack, shared.getsockname())
        cases: dict[str, Callable[[], object]] = {
            "bare getsockopt + unpack": lambda: UNPACK(one.getsockopt(6, TCP_INFO, 32)),
            "1 TCP listener": reading(one),
            "16 TCP listeners": reading(*sixteen),
            "1 Unix listener": reading(unix),
            "reuse_port, 4 workers": reading(reuse_port=True, address=[shared.getsockname()]),
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, case in cases.items():
                times[name].append(timeit.timeit(case, number=CALLS) / CALLS * 1e6)

    print(
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; "
        f"medians of {ROUNDS} rounds"
    )
    bare = statistics.median(times["bare getsockopt + unpack"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:26} {median:8.2f} us  {median / bare:6.2f} x bare")


if __name__ == "__main__":
    main()
