"""Drive a gunicorn into saturation and back, and show the metrics for Datadog.

    python examples/demo.py                                   # with a stand-in for the Agent
    python examples/demo.py --agent udp://localhost:8125      # also forwards to a real Agent

Starts gunicorn with two sync workers on a free port, takes it through idle, busy, saturated and
drained, and ends within 40 s with a summary. Ctrl-C ends it at any moment.
"""

from __future__ import annotations

import signal

# Until main() takes over: a KeyboardInterrupt can get lost in an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event

import load
from agent import Datagram, StandInAgent
from rich.console import Console
from rich.live import Live
from show import Show

from gunicorn_backlog.config.agent_address import URL_FORMS, Address, parse
from gunicorn_backlog.dogstatsd import agent_socket

WORKERS = 2
SERVICE_TIME_S = 0.4
INTERVAL_S = 1.0


@dataclass(frozen=True)
class Phase:
    """A phase of the demo: ``clients`` that send a new request after each response."""

    name: str
    clients: int
    lasts_s: float
    what: str


PHASES = (
    Phase("idle", 0, 4.0, "no client"),
    Phase("busy", 1, 5.0, "one client: a worker is free at any time"),
    Phase("saturated", 12, 7.0, "twelve clients: two are served, ten wait in the accept queue"),
    Phase("drained", 0, 4.0, "no client: all requests were answered"),
)


def _connected(stack: ExitStack, address: Address) -> agent_socket.AgentSocket:
    """Return a socket to the real Agent. Raises SystemExit."""
    try:
        target = agent_socket.resolve(address)
        return stack.enter_context(agent_socket.connect(address.scheme, target))
    except OSError as error:
        raise SystemExit(f"demo: no Agent at {address}: {error}") from None


def _run(console: Console, address: Address | None, stop: Event) -> Show:
    show = Show(interval_s=INTERVAL_S, workers=WORKERS, clients=max(p.clients for p in PHASES))
    with ExitStack() as stack:
        real = _connected(stack, address) if address else None

        def forward(datagram: Datagram) -> None:
            show.add(datagram)
            if real is not None:
                real.deliver(datagram.octets)

        agent = stack.enter_context(StandInAgent(on_datagram=forward))
        port = load.free_port()
        stack.enter_context(load.gunicorn(port, WORKERS, agent.url, stop))
        where = f"{agent.url}, and on to {address}" if address else agent.url
        console.print(f"gunicorn at 127.0.0.1:{port}, {WORKERS} sync workers, pushes to {where}")
        _drive(console, show, port, stop)
        if real is not None and real.error is not None:
            console.print(f"The Agent at {address} did not accept all datagrams: {real.error}")
    return show


def _drive(console: Console, show: Show, port: int, stop: Event) -> None:
    with Live(show, console=console, refresh_per_second=8, transient=True):
        for phase in PHASES:
            with load.clients(phase.clients, port, SERVICE_TIME_S, stop):
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
    arguments = parser.parse_args()
    stop = Event()
    # A handler that raises could interrupt the start of gunicorn before its pid is stored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    console = Console()
    show = _run(console, arguments.agent, stop)
    console.print(show.summary())
    if stop.is_set():
        sys.exit("demo: stopped before its end")


if __name__ == "__main__":
    main()
