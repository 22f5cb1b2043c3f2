"""Duration of the arbiter's os.fork(), in every state of our thread and the Agent."""

from __future__ import annotations

import random
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.dns import NAME, Names, silent_name_server
from tests.lab.fork_stopwatch import Fork, described, forks
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import our_threads
from tests.lab.server import CONFIG, Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

MOST_MS = 50.0
NOISE_MS = 1000.0  # what other load may add; a fork that waits for a hung look-up takes 10 s
LONG = 2_000

TIMED = "from tests.lab import fork_stopwatch\nfork_stopwatch.begin()\n"
# Workers end at once, so that gunicorn forks continuously.
ENDING = """
import os
def post_fork(server, worker):
    os._exit(0)
"""
STOPPED = """
import threading
from gunicorn_backlog import hooks
def when_ready(server):
    hooks.when_ready(server)
    threading.Timer({after_s}, hooks.on_exit, (server,)).start()
"""
DEFAULT = {"GUNICORN_BACKLOG_URL": "udp://127.0.0.1:9"}
BUSY = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "20"}


class Timed:
    """A server with a stopwatch on each fork."""

    def __init__(
        self,
        name: str,
        serve: ServerFactory,
        gunicorn: Gunicorn,
        folder: Path,
        *,
        config: str = CONFIG,
        environ: dict[str, str] = DEFAULT,
        run_by: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._log = folder / f"forks of {name}"
        self.server: Server = serve(
            gunicorn,
            workers=4,
            config=TIMED + config + ENDING,
            environ=environ | {"FORKS": str(self._log)},
            run_by=run_by,
        )

    @property
    def forks(self) -> list[Fork]:
        """The forks so far."""
        return forks(self._log)

    @property
    def median_added_ms(self) -> float:
        """The median of the time added to a fork; other processes may delay the first ones."""
        return statistics.median(fork.added_ms for fork in self.forks)

    def report(self) -> None:
        """Print the server's figures."""
        whole = described([fork.whole_ms for fork in self.forks])
        added = described([fork.added_ms for fork in self.forks])
        print(f"{self.name}: {len(self.forks)} forks, {whole}; added {added}")


@pytest.fixture
def full_socket(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a Unix datagram socket whose queue is full."""
    path = tmp_path / "full"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        unread.bind(str(path))
        sender.connect(str(path))
        sender.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sender.send(b"full")
        yield f"unixgram://{path}"


@forms("count", short=10, long=LONG)
def test_nothing_delays_a_fork(
    count: int,
    newest: Gunicorn,
    serve: ServerFactory,
    tmp_path: Path,
    full_socket: str,
) -> None:
    """With any Agent, a fork takes as long as without us, and never 50 ms more."""
    start = partial(Timed, serve=serve, gunicorn=newest, folder=tmp_path)
    with silent_name_server() as name_server:
        names = Names(tmp_path, name_server.host)
        hanging = BUSY | {"GUNICORN_BACKLOG_URL": f"udp://{NAME}:8125"}
        full = BUSY | {"GUNICORN_BACKLOG_URL": full_socket}
        without = start("without us", config="")
        sides = [
            start("with us", environ=DEFAULT),
            start("200 samples a second", environ=DEFAULT | BUSY),
            start("a name that hangs", environ=hanging, run_by=names.run_by),
            start("a full socket", environ=full),
            start("stopped", environ=DEFAULT | BUSY, config=STOPPED.format(after_s=1)),
        ]
        wait_for("a look-up that hangs", lambda: len(our_threads(sides[2].server.pid)) == 2)
        wait_for(
            f"{count} forks of each",
            lambda: all(
                len(side.forks) >= count and (count == LONG or side.median_added_ms < MOST_MS / 2)
                for side in (without, *sides)
            ),
            deadline_s=60 + count,
        )
    assert "does not read as fast" in sides[3].server.log
    for side in (without, *sides):
        side.report()
    check(sides, without, long=count == LONG)


def check(sides: list[Timed], without: Timed, *, long: bool) -> None:
    """Assert that no fork is delayed, and that the median is that of a run without us."""
    for side in sides:
        assert "Traceback" not in side.server.log
        added_ms = [fork.added_ms for fork in side.forks]
        assert side.median_added_ms < MOST_MS / 2
        assert max(added_ms) < (MOST_MS if long else NOISE_MS)
        if long:
            assert median_ms(side) - median_ms(without) < 1


def median_ms(side: Timed) -> float:
    """Return the median duration of forks."""
    return statistics.median(fork.whole_ms for fork in side.forks)


@forms("rounds", short=1, long=30)
def test_stopping_during_forks(
    rounds: int, gunicorn: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """SIGTERM at a random moment: no fork is delayed, and the arbiter exits with 0."""
    chance = random.Random(rounds)
    most_ms = MOST_MS if rounds > 1 else NOISE_MS
    added_ms, ended_s = [], []
    for number in range(rounds):
        side = Timed(str(number), serve, gunicorn, tmp_path, environ=DEFAULT | BUSY)
        wait_for("forks", lambda: len(side.forks) > 4)  # noqa: B023
        time.sleep(chance.uniform(0, 0.2))  # any moment
        side.server.signal(signal.SIGTERM)
        began_s = time.monotonic()
        assert side.server.process.wait(timeout=20) == 0
        ended_s.append(time.monotonic() - began_s)
        added_ms += [fork.added_ms for fork in side.forks]
        assert "Traceback" not in side.server.log
    print(f"{len(added_ms)} forks, added {described(added_ms)}; ended within {max(ended_s):.2f} s")
    assert max(added_ms) < most_ms
