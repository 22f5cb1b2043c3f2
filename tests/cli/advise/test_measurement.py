"""``advise`` on real servers under load, against what the clients and the app know."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.lab.cli_command import Done, environment, run_cli
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.server import Server
from tests.lab.worker_classes import ASGI_OWN, GTHREAD, SYNC, WorkerClass

APP = "tests.lab.cpu_app:app"
SECONDS = 4.0


def poisson(
    servers: list[Server], load: float, name: str, seconds: float, seed: str, scale: float = 1
) -> subprocess.Popen[str]:
    """Start clients of all servers, in a process of their own."""
    ports = ",".join(str(server.port) for server in servers)
    command = [sys.executable, "-m", "tests.lab.poisson_clients", ports, str(load), name]
    return subprocess.Popen(
        [*command, str(seconds), seed, str(scale)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def closed_loop(server: Server, path: str, count: int) -> Iterator[None]:
    """Send requests from threads, each one after the other, while the context is open."""
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            with suppress(OSError):
                server.get(path)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def advice(server: Server, *arguments: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the JSON of ``advise``."""
    done = run_cli("advise", str(server.pid), "--json", "--seconds", str(seconds), *arguments)
    assert done.code == 0, done
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.mark.parametrize(
    ("worker_class", "gunicorn"),
    [
        pytest.param(SYNC, VERSIONS[-1], id="sync-newest"),
        pytest.param(GTHREAD, VERSIONS[-1], id="gthread-newest"),
        pytest.param(GTHREAD, VERSIONS[0], id="gthread-oldest"),
        nightly(SYNC, VERSIONS[0], id="sync-oldest"),
    ],
    indirect=["gunicorn"],
)
def test_the_load_of_random_clients(
    worker_class: WorkerClass, gunicorn: Gunicorn, serve: ServerFactory
) -> None:
    """Load and service are those of the clients; the work waits for something else than CPUs."""
    threads = 2 if worker_class is GTHREAD else 1
    server = serve(gunicorn, workers=4 // threads, app=APP, arguments=worker_class.arguments)
    server.wait_until_it_serves()
    with poisson([server], 1.5, "exponential", SECONDS + 3, "a", scale=0.5) as clients:
        found = advice(server)
        out, _ = clients.communicate(timeout=60)
    sent = json.loads(out)["services"]
    mean_ms = sum(sent) / len(sent)
    print({name: found[name] for name in ("load", "service_ms", "variability", "needed", "bound")})
    assert found["version"] == 1
    assert (found["unit"], found["have"]) == ("threads" if threads > 1 else "workers", 4)
    assert found["load"] == pytest.approx(1.5, rel=0.5)
    assert found["service_ms"] == pytest.approx(mean_ms, rel=0.5)
    assert found["load"] * SECONDS * 1e3 == pytest.approx(
        found["service_ms"] * found["requests"], rel=0.02
    )
    assert 0.2 < found["variability"] < 3
    assert found["needed"] in range(2, 6)
    assert found["needed_at"]["2"] > found["needed"]
    assert found["bound"] == "other"
    assert found["shares"]["other"] > 0.5
    assert found["waits"]["requests"] == pytest.approx(found["requests"], abs=3)
    assert any("Poisson" in each for each in found["assumptions"])


def test_a_full_server_that_waits_for_one_core(newest: Gunicorn, serve: ServerFactory) -> None:
    """Three CPU-bound workers on one core: CPUs are short, and all numbers are lower bounds."""
    server = serve(newest, workers=3, app=APP, run_by=("taskset", "-c", "0"))
    server.wait_until_it_serves()
    with closed_loop(server, "/mix/20/0", 8):
        found = advice(server)
        text = run_cli("advise", str(server.pid), "--seconds", str(SECONDS), "--wait", "0.05s")
    assert (found["bound"], found["short"], found["cpus"]) == ("cpu_wait", "CPUs", 1)
    assert found["lower_bound"]
    assert found["needed"] >= 1
    assert found["shares"]["cpu"] + found["shares"]["cpu_wait"] == pytest.approx(1, abs=0.1)
    assert text.code == 0, text
    assert "\nWith enough CPUs, at most 5 % of the requests wait longer than 50 ms w" in text.out
    assert "\nCPUs are short: " in text.out


def test_event_loops(newest: Gunicorn, serve: ServerFactory) -> None:
    """An asgi server gets advice on its loops, and no number of workers."""
    server = serve(newest, arguments=ASGI_OWN.arguments, app=ASGI_OWN.app).wait_until_it_serves()
    with closed_loop(server, "/", 1):
        found = advice(server, seconds=1.5)
    assert found["needed"] is None
    assert found["needed_at"] == {}
    assert 0 < found["loops"]["utilization"] <= 100
    assert found["loops"]["delays"]["requests"] > 10


def test_a_server_without_load(newest: Gunicorn, serve: ServerFactory) -> None:
    """An idle server gets the reason, in one line, and exit code 1."""
    server = serve(newest).wait_until_it_serves()
    done = run_here("advise", str(server.pid), "--seconds", "0.8")
    line = (
        "gunicorn-backlog: too little load for advice: 0 requests in 1 s, 30 are needed "
        "(--seconds measures longer)\n"
    )
    assert done == Done(1, "", line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--seconds 0", "argument --seconds: 0 is not from 0.1 to 3600"),
        ("--wait 100", "argument --wait: 100 is no time from 1ms to 60s, for example 100ms"),
        ("--wait 0ms", "argument --wait: 0ms is no time from 1ms to 60s, for example 100ms"),
        ("--wait 61s", "argument --wait: 61s is no time from 1ms to 60s, for example 100ms"),
        ("--share 0%", "argument --share: 0% is no share from 0.1% to 50%, for example 5%"),
        ("--share nan", "argument --share: nan is no share from 0.1% to 50%, for example 5%"),
        ("--share 5%%", "argument --share: 5%% is no share from 0.1% to 50%, for example 5%"),
        ("x", "argument PID: invalid int value: 'x'"),
    ],
)
def test_wrong_arguments(arguments: str, line: str) -> None:
    """A wrong argument is one line, and exit code 2."""
    done = run_here("advise", *arguments.split())
    assert done == Done(2, "", f"gunicorn-backlog advise: {line}\n")
