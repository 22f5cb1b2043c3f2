"""What watching adds to a request: its begin and end, and the look at how long it waited."""

from __future__ import annotations

import os
import platform
import socket
import statistics
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any

from gunicorn_backlog.scoreboard import Scoreboard
from gunicorn_backlog.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.workers import gthread, sync

ROUNDS = 41
CALLS = 5000
TCP_INFO_SIZE = 56  # bytes, to the end of tcpi_last_data_recv
Watch = Callable[[Any, Any], None]


def worker_with(handle: Any, handle_request: Any, **more: Any) -> Any:
    """Return a worker as far as it is watched, whose methods do nothing."""
    cfg = SimpleNamespace(is_ssl=False, threads=2)
    return SimpleNamespace(
        cfg=cfg, tpool=None, handle=handle, handle_request=handle_request, **more
    )


def a_sync_request(watch: Watch | None, *listeners: socket.socket) -> Callable[[Any], object]:
    """Return one request of a sync worker, watched or not."""
    worker: Any = worker_with(
        lambda listener, client, addr: worker.handle_request(listener, 1, client, addr),
        lambda listener, req, client, addr: None,
        sockets=listeners,
    )
    if watch is not None:
        watch(worker, claim())
    return lambda accepted: worker.handle(None, accepted, None)


def a_gthread_request(watch: Watch | None, *listeners: socket.socket) -> Callable[[Any], object]:
    """Return one request of a gthread worker, from the queue on, watched or not."""
    worker: Any = worker_with(
        lambda conn: worker.handle_request(1, conn),
        lambda req, conn: None,
        sockets=listeners,
        enqueue_req=lambda conn: worker.handle(conn),
    )
    if watch is not None:
        watch(worker, claim())
    conn = SimpleNamespace()

    def request(accepted: Any) -> None:
        conn.sock = accepted
        worker.enqueue_req(conn)

    return request


def claim() -> Any:
    """Return what a worker claims its slots with."""
    return partial(Scoreboard(slots=16).claim, os.getpid(), 1)


def two_calls(_: object) -> None:
    """Call an empty function twice."""
    nothing()
    nothing()


def nothing() -> None:
    """Do nothing."""


def main() -> None:
    """Measure all in turns, and print medians."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = stack.enter_context(listener.accept()[0])
        cases: dict[str, Callable[[Any], object]] = {
            "two empty calls": two_calls,
            "getsockopt(TCP_INFO)": lambda it: it.getsockopt(IPPROTO_TCP, TCP_INFO, TCP_INFO_SIZE),
            "sync": a_sync_request(None),
            "sync, begin and end": a_sync_request(sync.watch),
            "sync, and the wait": a_sync_request(sync.watch, listener),
            "gthread": a_gthread_request(None),
            "gthread, begin and end": a_gthread_request(gthread.watch),
            "gthread, and the wait": a_gthread_request(gthread.watch, listener),
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, case in cases.items():
                client.sendall(b"a")  # so that the waits are of ms, as in a server
                took_s = timeit.timeit(partial(case, accepted), number=CALLS)
                times[name].append(took_s / CALLS * 1e9)
    show({name: statistics.median(values) for name, values in times.items()})


def show(medians: dict[str, float]) -> None:
    """Print a table, and what each adds."""
    print(
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; "
        f"medians of {ROUNDS} rounds"
    )
    for name, median in medians.items():
        print(f"{name:26} {median:6.0f} ns")
    bare = medians["getsockopt(TCP_INFO)"]
    for name in ("sync", "gthread"):
        watched = medians[f"{name}, begin and end"] - medians[name]
        waited = medians[f"{name}, and the wait"] - medians[f"{name}, begin and end"]
        print(f"{name}: begin and end add {watched:.0f} ns, {watched / bare:.2f} x getsockopt")
        print(f"{name}: the wait adds {waited:.0f} ns, {waited / bare:.2f} x getsockopt")


if __name__ == "__main__":
    main()
