"""One request, again and again, in a process of its own: with pyperf's loops.

In a worker there is one class. Python's bytecode is specialized for what it meets: several classes
in one process would slow each other down.
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
    "two empty calls": lambda _: families.of_nobody(),
    "getsockopt(TCP_INFO)": lambda _: families.bare(),
    "sync": lambda _: families.of_sync(None),
    f"sync, {WATCHED}": lambda _: families.of_sync(claim()),
    f"sync, {WAITING}": lambda it: families.of_sync(claim(), it),
    "sync, floor": lambda _: families.of_sync(claim(), floor=families.floor),
    "sync, kept": lambda _: families.of_sync(claim(), floor=families.kept_floor),
    "gthread": lambda _: families.of_gthread(None),
    f"gthread, {WATCHED}": lambda _: families.of_gthread(claim()),
    f"gthread, {WAITING}": lambda it: families.of_gthread(claim(), it),
    "gevent": lambda _: families.of_greenlet(None),
    f"gevent, {WATCHED}": lambda _: families.of_greenlet(claim()),
    f"gevent, {WAITING}": lambda it: families.of_greenlet(claim(), it),
    "asgi": lambda _: families.of_asgi(None),
    f"asgi, {WATCHED}": lambda _: families.of_asgi(claim()),
    "tornado": lambda _: families.of_wsgi(None),
    f"tornado, {WATCHED}": lambda _: families.of_wsgi(claim()),
}


def main() -> None:
    """Measure the case of the command line, whose other arguments are pyperf's."""
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
            client.sendall(b"a")  # so that the waits are of ms, as in a server
            numbers = range(loops)
            began_s = time.perf_counter()
            for _ in numbers:
                request(accepted)
            return time.perf_counter() - began_s

        runner.bench_time_func(case, measure)


if __name__ == "__main__":
    main()
