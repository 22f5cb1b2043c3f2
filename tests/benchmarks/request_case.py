"""Command that measures one case of a request with pyperf, in a process of its own.

A worker has one class. Python specializes bytecode for the types at run time: several classes in
one process would slow each other down.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pyperf

from tests.benchmarks import families
from tests.benchmarks.families import Request, claim

WATCHED, WAITING = "begin and end", "the wait"

CASES: dict[str, Callable[[socket.socket], Request]] = {
    "two empty calls": lambda _: families.empty_calls(),
    "getsockopt(TCP_INFO)": lambda _: families.bare_getsockopt(),
    "sync": lambda _: families.sync_request(None),
    f"sync, {WATCHED}": lambda _: families.sync_request(claim()),
    f"sync, {WAITING}": lambda listener: families.sync_request(claim(), listener),
    "sync, floor": lambda _: families.sync_request(claim(), floor=families.floor),
    "sync, kept": lambda _: families.sync_request(claim(), floor=families.kept_floor),
    "gthread": lambda _: families.gthread_request(None),
    f"gthread, {WATCHED}": lambda _: families.gthread_request(claim()),
    f"gthread, {WAITING}": lambda listener: families.gthread_request(claim(), listener),
    "gevent": lambda _: families.greenlet_request(None),
    f"gevent, {WATCHED}": lambda _: families.greenlet_request(claim()),
    f"gevent, {WAITING}": lambda listener: families.greenlet_request(claim(), listener),
    "asgi": lambda _: families.asgi_request(None),
    f"asgi, {WATCHED}": lambda _: families.asgi_request(claim()),
    f"asgi, {WAITING}": lambda listener: families.asgi_request(claim(), listener),
    "tornado": lambda _: families.wsgi_request(None),
    f"tornado, {WATCHED}": lambda _: families.wsgi_request(claim()),
}


def main() -> None:
    """Measure the case of the command line; the other arguments are pyperf's."""
    runner = pyperf.Runner()
    runner.argparser.add_argument("case", choices=CASES)
    case = runner.parse_args().case
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        request = CASES[case](listener)

        def measure(loops: int) -> float:
            client.sendall(b"a")  # recent data: waits of some ms, as in a server
            numbers = range(loops)
            began_s = time.perf_counter()
            for _ in numbers:
                request(accepted)
            return time.perf_counter() - began_s

        runner.bench_time_func(case, measure)


if __name__ == "__main__":
    main()
