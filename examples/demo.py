"""Drive a gunicorn into saturation and back, and show the metrics for Datadog.

    python examples/demo.py                                   # with a stand-in for the Agent
    python examples/demo.py --agent udp://localhost:8125      # also forwards to a real Agent
    python examples/demo.py --async                           # an event loop instead

Starts gunicorn with two sync workers on a free port, takes it through idle, busy, saturated and
drained, and ends within 40 s with a summary. With --async, one uvicorn worker is idle, busy,
blocked, and has a full pool of threads. Ctrl-C ends the demo at any moment.
"""

from __future__ import annotations

import signal

# Until main() takes over: a KeyboardInterrupt can get lost in an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from threading import Event

import load
from agent import Datagram, StandInAgent
from rich.console import Console
from rich.live import Live
from scenarios import ASYNC, SYNC, Scenario
from show import Show

from gunicorn_backlog.config.agent_address import URL_FORMS, Address, parse
from gunicorn_backlog.dogstatsd import agent_socket

INTERVAL_S = 1.0


def _connected(stack: ExitStack, address: Address) -> agent_socket.AgentSocket:
    """Return a socket to the real Agent. Raises SystemExit."""
    try:
        target = agent_socket.resolve(address)
        return stack.enter_context(agent_socket.connect(address.scheme, target))
    except OSError as error:
        raise SystemExit(f"demo: no Agent at {address}: {error}") from None


def _run(console: Console, scenario: Scenario, address: Address | None, stop: Event) -> Show:
    show = Show(scenario.columns, interval_s=INTERVAL_S)
    with ExitStack() as stack:
        real = _connected(stack, address) if address else None

        def forward(datagram: Datagram) -> None:
            show.add(datagram)
            if real is not None:
                real.deliver(datagram.octets)

        agent = stack.enter_context(StandInAgent(on_datagram=forward))
        port = load.free_port()
        server = load.gunicorn(
            port,
            scenario.workers,
            agent.url,
            stop,
            worker_class=scenario.worker_class,
            app=scenario.app,
        )
        stack.enter_context(server)
        where = f"{agent.url}, and on to {address}" if address else agent.url
        workers = f"{scenario.workers} {scenario.worker_class} workers"
        console.print(f"gunicorn at 127.0.0.1:{port}, {workers}, pushes to {where}")
        _drive(console, show, scenario, port, stop)
        if real is not None and real.error is not None:
            console.print(f"The Agent at {address} did not accept all datagrams: {real.error}")
    return show


def _drive(console: Console, show: Show, scenario: Scenario, port: int, stop: Event) -> None:
    with Live(show, console=console, refresh_per_second=8, transient=True):
        for phase in scenario.phases:
            with load.clients(phase.clients, port, phase.path, stop):
                show.begin(phase.name, phase.what, time.monotonic())
                stop.wait(phase.lasts_s)
                show.end()
            if stop.is_set():
                return


def _address(url: str) -> Address:
    try:
        return parse(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{url!r}: {error}; allowed: {URL_FORMS}") from None


def main() -> None:
    """Run the demo with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--agent", type=_address, metavar="URL", help=f"{URL_FORMS}")
    parser.add_argument(
        "--async",
        dest="scenario",
        action="store_const",
        const=ASYNC,
        default=SYNC,
        help="show an event loop: one worker of the package uvicorn-worker",
    )
    arguments = parser.parse_args()
    if arguments.scenario is ASYNC and find_spec("uvicorn_worker") is None:
        parser.error("--async needs uvicorn: pip install uvicorn-worker")
    stop = Event()
    # A handler that raises could interrupt the start of gunicorn before its pid is stored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    console = Console()
    show = _run(console, arguments.scenario, arguments.agent, stop)
    console.print(show.summary())
    if stop.is_set():
        sys.exit("demo: stopped before its end")


if __name__ == "__main__":
    main()
