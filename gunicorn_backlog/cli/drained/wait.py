"""Wait until a server is drained, or until the timeout."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gunicorn_backlog.cli.drained.quiet import Quiet
from gunicorn_backlog.cli.drained.reading import Reading, RequestReader
from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect.discovery import Server

READ_EVERY_S = 0.1
WORKERS_MAX = 5  # named in the line


def wait_until_drained(server: Server, quiet_s: float, timeout_s: float, allow: int) -> str:
    """Wait, and return one line for the user.

    A server that ends during the wait counts as drained. Raises InspectError with all that remains
    after ``timeout_s``.

    :param quiet_s: seconds without a request.
    :param allow: requests in ``quiet_s`` that don't count.
    """
    began_s = time.monotonic()
    try:
        reader, quiet = RequestReader(server), Quiet(quiet_s, allow)
        while not quiet.add(reading := reader.read()):
            if time.monotonic() - began_s >= timeout_s:
                server.check_alive()
                remaining = "; ".join(_remaining(reading, quiet.arrived, quiet_s))
                raise InspectError(f"not drained after {timeout_s:g} s: {remaining}")
            time.sleep(READ_EVERY_S)
    except EndedError as error:
        return f"{error}, after {time.monotonic() - began_s:.1f} s"
    arrived = f"at most {allow} requests" if allow else "none"
    return (
        f"drained after {time.monotonic() - began_s:.1f} s: no connection is queued, no request "
        f"is in flight, and {arrived} arrived for {quiet_s:g} s"
    )


def _remaining(reading: Reading, arrived: int, quiet_s: float) -> Iterator[str]:
    """Yield what the server still has, and what arrived."""
    for listener, length in reading.queued.items():
        yield f"{_plural(length, 'connection')} in the queue of {listener}"
    if reading.waiting:
        yield f"{_plural(reading.waiting, 'connection')} waiting for a thread"
    if reading.in_flight:
        pids = list(reading.in_flight)
        more = ", ..." if len(pids) > WORKERS_MAX else ""
        named = ", ".join(f"{pid}: {reading.in_flight[pid]}" for pid in pids[:WORKERS_MAX])
        total = _plural(sum(reading.in_flight.values()), "request")
        yield f"{total} in flight (by worker: {named}{more})"
    for text in reading.unknown:
        yield f"{text}: can't be read"
    yield f"{_plural(arrived, 'request')} arrived in the last {quiet_s:g} s"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
