"""The phases that monitors are tried in: each a real gunicorn under real load.

    python -m tests.datadog.phases [PHASE ...]

records them anew into ``recordings/``, all at the same time, in twelve minutes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import load
from agent import StandInAgent

from tests.datadog.recording import Recording
from tests.lab.gunicorns import VERSIONS, Gunicorn, install
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.server import Server

FOLDER = Path(__file__).parent / "recordings"
INTERVAL_S = 1.0  # as it is by default
LASTS_S = 720.0
DEATH_EACH_S = 20.0
RELOAD_AT = 5 / 9  # of the time, so that the ten minutes behind it reach back to the start
LONGEST_S = 20.0  # of a slow request: less than gunicorn's timeout
LONGEST_WAIT_S = 120.0
ALIVE = 1 / 6  # so much of the time a server lives that is to be ended
SERVICE_TIME_S = 0.4  # the demo's
SLOW_S, SLOW_EACH_S = 8.0, 8.0  # mean service time, and mean time between two requests
DEMO_APP = "examples.app:app"


@dataclass(frozen=True)
class Phase:
    """A server, and what happens to it while it is recorded."""

    what: str
    happens: Callable[[Server, float], object]
    workers: int = 2
    arguments: tuple[str, ...] = ()
    app: str = DEMO_APP
    from_the_start: bool = False  # or from when all workers are idle


def _demo_clients(number: int) -> Callable[[Server, float], object]:
    """Return the demo's load: so many clients, each asking again as soon as it is answered."""

    def happens(server: Server, lasts_s: float) -> None:
        over = threading.Event()
        with load.clients(number, server.port, SERVICE_TIME_S, over):
            over.wait(lasts_s)
            over.set()  # nobody waits for the last answers

    return happens


def _visitors(server: Server, lasts_s: float) -> None:
    """Requests come at random, with random service times: 64 % of four workers' time, as recorded.

    Past the middle all workers are replaced by others, as in a deployment.
    """
    reload = threading.Timer(lasts_s * RELOAD_AT, server.signal, (signal.SIGHUP,))
    reload.start()
    chance = random.Random(1)
    rate_per_s, mean_s, threads = 26.0, 0.1, []
    ends_s = time.monotonic() + lasts_s
    while time.monotonic() < ends_s:
        path = f"/sleep/{chance.expovariate(1 / mean_s):.3f}"
        threads.append(threading.Thread(target=_ask, args=(server, path)))
        threads[-1].start()
        time.sleep(chance.expovariate(rate_per_s))
    for thread in (*threads, reload):
        thread.join()


def _slow_visitors(server: Server, lasts_s: float) -> None:
    """Slow requests come at random, three at once to begin with: 46 % of two workers' time.

    Nobody waits for the last answers, which would take longer than a short recording.
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


def _deaths(server: Server, lasts_s: float) -> None:
    """A request now and then that ends its worker, and others in between."""
    ends_s, death_s = time.monotonic() + lasts_s, time.monotonic()
    while time.monotonic() < ends_s:
        if time.monotonic() >= death_s:
            _ask(server, "/die")
            death_s += DEATH_EACH_S
        _ask(server, "/")
        time.sleep(0.15)


def _killed(server: Server, lasts_s: float) -> None:
    """After a while all its processes are killed at once."""
    ends_s = time.monotonic() + lasts_s
    time.sleep(lasts_s * ALIVE)
    os.killpg(server.pid, signal.SIGKILL)
    time.sleep(max(0.0, ends_s - time.monotonic()))


def _stopped(server: Server, lasts_s: float) -> None:
    """After a while it is stopped, as a service manager does."""
    ends_s = time.monotonic() + lasts_s
    time.sleep(lasts_s * ALIVE)
    server.process.terminate()
    time.sleep(max(0.0, ends_s - time.monotonic()))


PHASES = {
    "healthy": Phase(
        "it starts, requests come at random, 26 a second of 0.1 s on average (both exponential),"
        " past the middle it gets SIGHUP; 4 workers",
        _visitors,
        workers=4,
        from_the_start=True,
    ),
    "saturated": Phase(
        "the demo's: 12 clients ask again at once, 0.4 s each; 2 workers", _demo_clients(12)
    ),
    "overflow": Phase(
        "30 clients ask again at once, 0.4 s each; 2 workers, --backlog 8",
        _demo_clients(30),
        arguments=("--backlog", "8"),
    ),
    "slow": Phase(
        "requests come at random, one in 8 s that takes 8 s on average (both exponential), three"
        " at once to begin with; 2 workers",
        _slow_visitors,
    ),
    "crash_loop": Phase(
        "each 20 s a worker dies by SIGKILL, and one asks all the time; 2 workers",
        _deaths,
        app="tests.datadog.dying_app:app",
    ),
    "killed": Phase("nobody asks; after two minutes all of it is killed; 2 workers", _killed),
    "stopped": Phase("nobody asks; after two minutes it is sent SIGTERM; 2 workers", _stopped),
}


def record(
    phase: Phase,
    gunicorn: Gunicorn,
    folder: Path,
    *,
    lasts_s: float = LASTS_S,
    interval_s: float = INTERVAL_S,
) -> Recording:
    """Run a phase's server and load, and return what was pushed."""
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
                f"What a real gunicorn {gunicorn.version} pushed: {PHASES[name].what}.\n"
                f"Made by: python -m tests.datadog.phases {name}\n"
                f"A push each {INTERVAL_S:g} s with 10 samples; values are as they were pushed."
            )
            recording.write(FOLDER / f"{name}.tsv", comment)
            print(f"{name}: {len(recording.pushes)} pushes", flush=True)


if __name__ == "__main__":
    main()
