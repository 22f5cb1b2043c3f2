"""Clients that arrive at random times, in a process of their own.

``python -m tests.lab.poisson_clients PORTS LOAD SERVICE SECONDS SEED [SCALE]`` sends the same
requests to each port of a comma separated list, to ``tests.lab.cpu_app``: sleeps of a distribution
of ``tests.cli.advise.queueing``, times SCALE. Prints a JSON object: for each port the waits in ms,
from the connection until the app began, and all services.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

from tests.cli.advise.queueing import MEAN_MS, SERVICES


async def request(port: int, service_ms: float) -> float:
    """Send a request, and return its wait in ms; raise OSError or ValueError."""
    began_ns = time.monotonic_ns()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /sleep/{service_ms:.3f} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return max(0.0, int(answer.rpartition(b"\r\n")[2]) - began_ns) / 1e6


async def clients(
    ports: list[int], load: float, name: str, seconds: float, seed: str, scale: float = 1
) -> dict[str, list[float]]:
    """Send requests until the time is over, and return the waits and the services."""
    rng, service = random.Random(seed), SERVICES[name]
    now_s, end_s = time.monotonic(), time.monotonic() + seconds
    tasks: dict[int, list[asyncio.Task[float]]] = {port: [] for port in ports}
    services = []
    while (now_s := now_s + rng.expovariate(load / (scale * MEAN_MS) * 1e3)) < end_s:
        await asyncio.sleep(max(0.0, now_s - time.monotonic()))
        services.append(scale * service.draw_ms(rng))
        for port in ports:
            tasks[port].append(asyncio.create_task(request(port, services[-1])))
    waits = {str(port): await asyncio.gather(*tasks[port]) for port in ports}
    return waits | {"services": services}


if __name__ == "__main__":
    given_ports, given_load, given_name, given_seconds, given_seed, *given_scale = sys.argv[1:]
    found = clients(
        [int(port) for port in given_ports.split(",")],
        float(given_load),
        given_name,
        float(given_seconds),
        given_seed,
        *map(float, given_scale),
    )
    print(json.dumps(asyncio.run(found)))
