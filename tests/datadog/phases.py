"""The phases in which monitors are tried: each a real gunicorn under real load.

    python -m tests.datadog.phases [PHASE ...]

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
DEMO_APP = "examples.app:app"


@dataclass(frozen=True)
class Phase:
    """A server, and its load during the recording."""

    what: str
    happens: Callable[[Server, float], object]
    workers: int = 2
    arguments: tuple[str, ...] = ()
    app: str = DEMO_APP
    from_the_start: bool = False  # False: recorded as soon as all workers are idle


PHASES = {
    "healthy": Phase(
        "the start, then 26 requests a second of 0.1 s on average (both exponential), SIGHUP after"
        " the middle; 4 workers",
        loads.visitors,
        workers=4,
        from_the_start=True,
    ),
    "saturated": Phase(
        "the demo's load: 12 clients without pauses, requests of 0.4 s; 2 workers",
        loads.demo_clients(12),
    ),
    "overflow": Phase(
        "30 clients without pauses, requests of 0.4 s; 2 workers, --backlog 8",
        loads.demo_clients(30),
        arguments=("--backlog", "8"),
    ),
    "slow": Phase(
        "one request in 8 s that takes 8 s on average (both exponential), three at once at the"
        " start; 2 workers",
        loads.slow_visitors,
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
    """Run a phase's server and load, and return the recorded pushes."""
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
            phase.happens(server, began_s + lasts_s - time.monotonic())
            return Recording.of(list(agent.datagrams), began_s, began_s + lasts_s)


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
