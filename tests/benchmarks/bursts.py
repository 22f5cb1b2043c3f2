"""Bursts of known height and length in a server's accept queue, at random moments."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from agent import StandInAgent

from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import Server
from tests.lab.ss import ss

HEIGHTS = (3, 30)  # connections
GAP_S = (1.5, 2.5)  # longer than the second between two reports: no report covers two bursts

# The three tools measure the same bursts, since they run in the same server.
CONFIG = """
from gunicorn_backlog import hooks as _ours
from gunicorn_backlog.hooks import post_worker_init, on_exit
from tests.benchmarks import handwritten as _handwritten
from tests.benchmarks.handwritten import post_request, pre_fork, pre_request
enable_backlog_metric = True
def when_ready(server):
    _ours.when_ready(server)
    _handwritten.when_ready(server)
"""
HELD = (
    b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
    b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n"
)


class Burst(NamedTuple):
    """One burst of waiting connections, and the backlog values reported until the next burst.

    ``reported`` maps a tool to the values that it sent.
    """

    length_ms: int
    height: int
    took_ms: float
    reported: dict[str, list[float]]


class Lane:
    """One gunicorn with one worker and all tools, and a stand-in for their Agent."""

    def __init__(self, gunicorn: Gunicorn, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._agent = StandInAgent()
        port = self._agent.url.rpartition(":")[2]
        self._server = Server(
            gunicorn,
            folder,
            workers=1,
            config=CONFIG,
            arguments=("--statsd-host", f"127.0.0.1:{port}"),
            environ={"GUNICORN_BACKLOG_URL": self._agent.url, "HANDWRITTEN_PORT": port},
            app="tests.benchmarks.apps:held",
        )
        self._stack = ExitStack()

    def __enter__(self) -> Lane:
        with ExitStack() as stack:
            stack.enter_context(self._agent)
            stack.enter_context(self._server).wait_until_it_serves()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(self, lengths_ms: Sequence[int]) -> list[Burst]:
        """Cause bursts of these lengths, in random order."""
        lengths_ms = self._random.sample(lengths_ms, len(lengths_ms))
        time.sleep(self._random.uniform(*GAP_S))
        return [self._burst(length_ms) for length_ms in lengths_ms]

    def _burst(self, length_ms: int) -> Burst:
        height = self._random.randint(*HEIGHTS)
        with self._server.connect() as holding, ExitStack() as waiting:
            holding.sendall(HELD)
            assert b"100 Continue" in holding.recv(65536)  # the only worker serves this request now
            seen, began_s = len(self._agent.datagrams), time.monotonic()
            for _ in range(height):
                waiting.enter_context(self._server.connect())
            full_s = time.monotonic()
            time.sleep(length_ms / 1000)
            took_s = time.monotonic() - full_s
            if length_ms == 1000:
                assert ss(self._server.address).recv_q == height
            waiting.close()  # closed connections stay in the queue until they are accepted
            _finish(holding)
        time.sleep(self._random.uniform(*GAP_S))
        reported = self._reported(seen, began_s)
        return Burst(length_ms, height, 1000 * took_s, reported)

    def _reported(self, seen: int, since_s: float) -> dict[str, list[float]]:
        reported: dict[str, list[float]] = {}
        for datagram in self._agent.datagrams[seen:]:
            if datagram.at_s < since_s:
                continue
            for line in datagram.lines:
                if line.name == "handwritten.backlog":
                    reported.setdefault("hand-written", []).extend(line.values)
                elif line.name == "gunicorn.backlog":
                    tool = "gunicorn_backlog" if line.tag("listener") else "gunicorn's own"
                    reported.setdefault(tool, []).extend(line.values)
        return reported


def _finish(holding: socket.socket) -> None:
    """Send the missing byte of the request, and read the response to its end."""
    holding.sendall(b"a")
    while holding.recv(65536):
        pass
