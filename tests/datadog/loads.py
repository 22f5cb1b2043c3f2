"""Loads of the recorded servers: requests, deaths and ends.

Each function takes a server, and the duration in seconds.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import load

from tests.lab.server import Server

RELOAD_AT = 5 / 9  # share of the time: ten minutes before the end include the start
ALIVE = 1 / 6  # share of the time before a server is ended
DEATH_EACH_S = 20.0
SERVICE_TIME_S = 0.4  # equal to the demo's
SLOW_S, SLOW_EACH_S = 8.0, 6.5  # mean service time, and mean time between two requests
LONGEST_S = 18.0  # of a slow request: not near gunicorn's timeout of 30 s
LONGEST_WAIT_S = 120.0


def demo_clients(
    number: int, path: str = f"/sleep/{SERVICE_TIME_S}"
) -> Callable[[Server, float], object]:
    """Return the demo's load: clients that send a new request after each response."""

    def happens(server: Server, lasts_s: float) -> None:
        over = threading.Event()
        with load.clients(number, server.port, path, over):
            over.wait(lasts_s)
            over.set()  # the last responses are not awaited

    return happens


def visitors(
    per_s: float, path: Callable[[random.Random], str], *, reloads: bool = True
) -> Callable[[Server, float], object]:
    """Return a load of requests at random times.

    :param path: draws the path of a request.
    :param reloads: whether all workers are replaced after half of the time, as in a deployment.
    """

    def happens(server: Server, lasts_s: float) -> None:
        chance = random.Random(1)
        threads: list[threading.Thread] = []
        if reloads:
            threads.append(threading.Timer(lasts_s * RELOAD_AT, server.signal, (signal.SIGHUP,)))
            threads[0].start()
        ends_s = time.monotonic() + lasts_s
        while time.monotonic() < ends_s:
            asking = threading.Thread(target=_ask, args=(server, path(chance)))
            threads.append(asking)
            asking.start()
            time.sleep(chance.expovariate(per_s))
        for thread in threads:
            thread.join()

    return happens


def short(chance: random.Random) -> str:
    """Draw a request that waits for 0.1 s on average."""
    return f"/sleep/{chance.expovariate(1 / 0.1):.3f}"


def callbacks_and_calls(chance: random.Random) -> str:
    """Draw a request that occupies the loop for 20 ms on average, or in 1 of 5 a thread."""
    if chance.random() < 0.2:
        return f"/thread/{chance.expovariate(1 / 0.1):.3f}"
    return f"/block/{chance.expovariate(1 / 0.02):.3f}"


def each(seconds: float, path: str) -> Callable[[Server, float], object]:
    """Return a load of one request at regular times; the last response is not awaited."""

    def happens(server: Server, lasts_s: float) -> None:
        begun_s = time.monotonic()
        for number in range(int(lasts_s // seconds) + 1):
            time.sleep(max(0.0, begun_s + number * seconds - time.monotonic()))
            threading.Thread(target=_ask, args=(server, path), daemon=True).start()
        time.sleep(max(0.0, begun_s + lasts_s - time.monotonic()))

    return happens


def slow_visitors(server: Server, lasts_s: float) -> None:
    """Send slow requests at random times, three at the start: 55 % of two workers' time.

    The last responses are not awaited: they would take longer than a short recording.
    """
    chance = random.Random(37)
    ends_s = time.monotonic() + lasts_s
    due_s = [time.monotonic()] * 3
    while due_s[0] < ends_s:
        time.sleep(max(0.0, due_s[0] - time.monotonic()))
        path = f"/sleep/{min(LONGEST_S, chance.expovariate(1 / SLOW_S)):.3f}"
        threading.Thread(target=_ask, args=(server, path), daemon=True).start()
        due_s = due_s[1:] or [due_s[0] + chance.expovariate(1 / SLOW_EACH_S)]
    time.sleep(max(0.0, ends_s - time.monotonic()))


def _ask(server: Server, path: str) -> None:
    with suppress(OSError):
        server.get(path, timeout_s=LONGEST_WAIT_S)


def deaths(server: Server, lasts_s: float) -> None:
    """Send requests that end their worker from time to time, and others in between."""
    ends_s, death_s = time.monotonic() + lasts_s, time.monotonic()
    while time.monotonic() < ends_s:
        if time.monotonic() >= death_s:
            _ask(server, "/die")
            death_s += DEATH_EACH_S
        _ask(server, "/")
        time.sleep(0.15)


def killed(server: Server, lasts_s: float) -> None:
    """Kill all processes of the server at once, after a while."""
    ends_s = time.monotonic() + lasts_s
    time.sleep(lasts_s * ALIVE)
    os.killpg(server.pid, signal.SIGKILL)
    time.sleep(max(0.0, ends_s - time.monotonic()))


def stopped(server: Server, lasts_s: float) -> None:
    """Stop the server after a while, as a service manager does."""
    ends_s = time.monotonic() + lasts_s
    time.sleep(lasts_s * ALIVE)
    server.process.terminate()
    time.sleep(max(0.0, ends_s - time.monotonic()))
