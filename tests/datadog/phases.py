"""The phases in which monitors are tried: each a real gunicorn under real load.

    PYTHONPATH=examples python -m tests.datadog.phases [PHASE ...]

records the phases again into ``recordings/``, all at the same time, in twelve minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from agent import StandInAgent

from tests.datadog import loads
from tests.datadog.recording import Recording
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn, install
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.server import Server

FOLDER = Path(__file__).parent / "recordings"
INTERVAL_S = 1.0  # the default
LASTS_S = 720.0
DEMO_APP, ASYNC_APP = "examples.app:app", "examples.async_app:app"


@dataclass(frozen=True)
class Phase:
    """A server, and its load during the recording."""

    what: str
    happens: Callable[[Server, float], object]
    workers: int = 2
    arguments: tuple[str, ...] = ()
    app: str = DEMO_APP
    from_the_start: bool = False  # False: recorded as soon as all workers are idle


TWO_BY_TWO = ("--worker-class", "gthread", "--threads", "2")
ASGI = ("--worker-class", "asgi", "--asgi-loop", "asyncio")

PHASES = {
    "healthy": Phase(
        "the start, then 26 requests a second of 0.1 s on average (both exponential), SIGHUP after"
        " the middle; 4 workers",
        loads.visitors(26.0, loads.short),
        workers=4,
        from_the_start=True,
    ),
    "healthy_threads": Phase(
        "the load of healthy; 2 gthread workers with 4 threads each",
        loads.visitors(26.0, loads.short),
        arguments=("--worker-class", "gthread", "--threads", "4"),
        from_the_start=True,
    ),
    "healthy_loops": Phase(
        "20 requests a second: 4 of 5 occupy the event loop for 20 ms on average, 1 of 5 a thread"
        " of the default executor for 0.1 s; SIGHUP after the middle; 2 asgi workers",
        loads.visitors(20.0, loads.callbacks_and_calls),
        arguments=ASGI,
        app=ASYNC_APP,
        from_the_start=True,
    ),
    "saturated": Phase(
        "the demo's load: 12 clients without pauses, requests of 0.4 s; 2 workers",
        loads.demo_clients(12),
    ),
    "saturated_threads": Phase(
        "the demo's load; 2 gthread workers with 2 threads each",
        loads.demo_clients(12),
        arguments=TWO_BY_TWO,
    ),
    "saturated_loops": Phase(
        "20 requests a second at random times, each computes in small steps until 0.4 s have"
        " passed, then sleeps as long; 1 asgi worker",
        loads.visitors(20.0, lambda _: "/half/0.4", reloads=False),
        workers=1,
        arguments=ASGI,
        app=ASYNC_APP,
    ),
    "overflow": Phase(
        "30 clients without pauses, requests of 0.4 s; 2 workers, --backlog 8",
        loads.demo_clients(30),
        arguments=("--backlog", "8"),
    ),
    "slow": Phase(
        "one request in 6.5 s that takes 8 s on average (both exponential, at most 18 s), three at"
        " once at the start; 2 workers",
        loads.slow_visitors,
    ),
    "stranded": Phase(
        "1.2 requests of 2 s a second at random times; 2 gthread workers with 2 threads each",
        loads.visitors(1.2, lambda _: "/sleep/2", reloads=False),
        arguments=TWO_BY_TWO,
    ),
    "full_pool": Phase(
        "16 clients without pauses, each request calls a function of 0.5 s in the default executor"
        " of 4 threads; 1 asgi worker",
        loads.demo_clients(16, "/thread/0.5"),
        workers=1,
        arguments=ASGI,
        app=ASYNC_APP,
    ),
    "blocked": Phase(
        "a request each 8 s that blocks the event loop for 2 s; 1 asgi worker",
        loads.each(8.0, "/block/2"),
        workers=1,
        arguments=ASGI,
        app=ASYNC_APP,
    ),
    "near_timeout": Phase(
        "a client without pauses, requests of 25 s; 2 workers, --timeout 30",
        loads.demo_clients(1, "/sleep/25"),
        arguments=("--timeout", "30"),
    ),
    "timeout": Phase(
        "a request each 150 s that takes 30 s; 2 workers, --timeout 20",
        loads.each(150.0, "/sleep/30"),
        arguments=("--timeout", "20"),
    ),
    "lost": Phase(
        "24 clients without pauses, requests of 0.4 s; 2 workers, --reuse-port --max-requests 700",
        loads.demo_clients(24),
        arguments=("--reuse-port", "--max-requests", "700"),
    ),
    "crash_loop": Phase(
        "a worker dies by SIGKILL every 20 s, one client without pauses; 2 workers",
        loads.deaths,
        app="tests.datadog.dying_app:app",
    ),
    "killed": Phase(
        "no requests, SIGKILL for all processes after two minutes; 2 workers", loads.killed
    ),
    "stopped": Phase("no requests, SIGTERM after two minutes; 2 workers", loads.stopped),
}


def record(
    phase: Phase,
    gunicorn: Gunicorn,
    folder: Path,
    *,
    lasts_s: float = LASTS_S,
    interval_s: float = INTERVAL_S,
) -> Recording:
    """Run a phase's server and load, and return the recorded pushes.

    :param lasts_s: of the load; a recording from the start also has the time of the start.
    """
    began_s = time.monotonic()
    with StandInAgent() as agent:
        environ = {
            "GUNICORN_BACKLOG_URL": agent.url,
            "GUNICORN_BACKLOG_INTERVAL": str(interval_s),
            "DD_ENV": "lab",
            "DD_SERVICE": "demo",
        }
        with Server(
            gunicorn,
            folder,
            workers=phase.workers,
            arguments=phase.arguments,
            environ=environ,
            app=phase.app,
        ) as server:
            server.wait_until_it_serves()
            wait_until_all_are_idle(agent, phase.workers)
            if not phase.from_the_start:
                began_s = time.monotonic()
            ends_s = time.monotonic() + lasts_s
            phase.happens(server, lasts_s)
            return Recording.of(list(agent.datagrams), began_s, ends_s)


def main() -> None:
    """Record the phases of the command line, or all."""
    names = sys.argv[1:] or list(PHASES)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(len(names)) as pool:
        folder = Path(temporary)
        gunicorn = install(VERSIONS[-1], folder)
        recorded = [pool.submit(record, PHASES[name], gunicorn, folder) for name in names]
        for name, future in zip(names, recorded, strict=True):
            recording = future.result()
            comment = (
                f"Pushes of a real gunicorn {gunicorn.version}: {PHASES[name].what}.\n"
                f"Made by: python -m tests.datadog.phases {name}\n"
                f"A push every {INTERVAL_S:g} s with 10 samples; unchanged values."
            )
            recording.write(FOLDER / f"{name}.tsv", comment)
            print(f"{name}: {len(recording.pushes)} pushes", flush=True)


if __name__ == "__main__":
    main()
