"""The recorded waits, measured and skipped, are those of clients' stopwatches."""

from __future__ import annotations

import math
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gunicorn_backlog.cli.inspect.memory import Memory, is_link
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary, summarize
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.stopwatch import Client, as_fast_as_possible, ask, at_rate, waits_of
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, SYNC, WorkerClass

CLASSES = pytest.mark.parametrize("worker_class", [SYNC, GTHREAD], ids=lambda it: it.name)
BUCKET = 0.032  # half of a bucket's width beyond 32 ms
AVERAGE_MS, LONGEST_MS = 5.0, 10.0
MANY = 100  # requests: few of them are interrupted
STALL_S = 0.4
CLIENTS = 20


class Waits:
    """The recorded waits of a server with one worker."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._memory = wait_for("the shared memory", lambda: _memory_of(server.pid))
        self._worker = wait_for("the worker", lambda: set(self._rows()) or None).pop()
        self._seen = self._memory.reader.waits()

    def _rows(self) -> dict[int, object]:
        pids = self.server.worker_pids()
        claimed = {slot.pid: slot.age for slot in self._memory.reader.claimed()}
        running = {pid: claimed[pid] for pid in pids if pid in claimed}
        return dict(self._memory.reader.read(running).by_pid)

    def of_the_next(self, requests: int) -> WaitSummary:
        """Return the summary of the waits since the last call, when so many have come."""

        def since() -> list[int]:
            both = zip(self._memory.reader.waits(), self._seen, strict=True)
            return [now - then for now, then in both]

        wait_for(f"{requests} waits", lambda: sum(since()) >= requests)
        found = summarize(since())
        self._seen = self._memory.reader.waits()
        assert found.requests == requests
        return found

    @contextmanager
    def stalled(self, seconds: float) -> Iterator[float]:
        """Stop the worker; let it go on after the context, and at the time that is returned."""
        end_s = time.monotonic() + seconds
        os.kill(self._worker, signal.SIGSTOP)
        try:
            yield end_s
            time.sleep(max(0.0, end_s - time.monotonic()))
        finally:
            os.kill(self._worker, signal.SIGCONT)


def _memory_of(pid: int) -> Memory | None:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        if path.is_symlink() and is_link(os.readlink(path)):
            return Memory(str(path))
    return None


def serving(worker_class: WorkerClass, gunicorn: Gunicorn, serve: ServerFactory) -> Waits:
    """Start a server with one worker, and return its waits."""
    arguments = (*worker_class.arguments, "--keep-alive", "20")
    app = "tests.lab.clock_app:app"
    server: Server = serve(gunicorn, workers=1, arguments=arguments, app=app)
    return Waits(server.wait_until_it_serves())


def compare(
    name: str, recorded: WaitSummary, waited_ms: list[float], *, exact: bool = False
) -> None:
    """Compare the recorded waits with those of the stopwatches.

    :param exact: on an idle machine, also the longest one, and the percentile of a few. On a busy
        one the worker may be interrupted between its measurement and the app.
    """
    waited_ms = sorted(waited_ms)
    average_ms, longest_ms = statistics.mean(waited_ms), waited_ms[-1]
    percentile_ms = waited_ms[math.ceil(0.95 * len(waited_ms)) - 1]
    print(
        f"{name}: {len(waited_ms)} requests; stopwatches, recorded: average {average_ms:.1f}, "
        f"{recorded.average_ms:.1f}; 95 % {percentile_ms:.1f}, {recorded.percentile_95_ms:.1f}; "
        f"longest {longest_ms:.1f}, {recorded.longest_ms:.1f} ms"
    )
    assert recorded.average_ms == pytest.approx(average_ms, abs=AVERAGE_MS, rel=BUCKET)
    if exact or len(waited_ms) >= MANY:
        assert recorded.percentile_95_ms == pytest.approx(percentile_ms, abs=AVERAGE_MS, rel=BUCKET)
    if exact:
        assert recorded.longest_ms == pytest.approx(longest_ms, abs=LONGEST_MS, rel=BUCKET)


@forms("seconds", short=0.4, long=20)
@CLASSES
def test_rates(
    worker_class: WorkerClass, seconds: float, newest: Gunicorn, serve: ServerFactory
) -> None:
    """At 10 requests per second, at 500, and as fast as stopwatches run; kept alive, too."""
    waits = serving(worker_class, newest, serve)
    port, exact = waits.server.port, seconds > 1
    for rate in (10, 500):
        waited_ms = at_rate(port, rate, max(seconds, 10 / rate))
        compare(f"{rate}/s", waits.of_the_next(len(waited_ms)), waited_ms, exact=exact)
    kept = (False, True) if worker_class is GTHREAD else (False,)
    for clients in (1, 4):
        for is_kept in kept:
            waited_ms = as_fast_as_possible(port, clients, seconds, kept=is_kept)
            name = f"{clients} clients{', kept alive' * is_kept}, {len(waited_ms) / seconds:.0f}/s"
            compare(name, waits.of_the_next(len(waited_ms)), waited_ms, exact=exact)


@forms("rounds", short=1, long=30)
@CLASSES
def test_bursts_after_a_stall(
    worker_class: WorkerClass, rounds: int, newest: Gunicorn, serve: ServerFactory
) -> None:
    """A stopped worker continues: the burst waits for it, and behind the burst nobody waits.

    Some clients connected early and send right before the end: before them in the queue, behind
    them, and, with keep-alive, on connections that were used before.
    """
    waits = serving(worker_class, newest, serve)
    port, is_kept = waits.server.port, worker_class is GTHREAD
    for number in range(rounds):
        with ExitStack() as stack:
            kept = [stack.enter_context(Client(port, kept=True)) for _ in range(4 * is_kept)]
            for client in kept:
                client.send()
                client.waited_ms()
            waits.of_the_next(len(kept))
            with waits.stalled(STALL_S) as end_s:
                early, burst = [], []
                for place in range(CLIENTS):
                    client = stack.enter_context(Client(port))
                    if place % 4:
                        client.send()
                        burst.append(client)
                    else:
                        early.append(client)
                for client in kept[:2]:
                    client.send()
                time.sleep(max(0.0, end_s - time.monotonic() - 0.02))
                for client in (*early, *kept[2:]):
                    client.send()
            waited_ms = waits_of([*early, *burst, *kept])
        recorded = waits.of_the_next(len(waited_ms))
        compare(f"burst {number}", recorded, waited_ms, exact=rounds > 2)
        waited_ms = [ask(port) for _ in range(20)]
        compare("behind it", waits.of_the_next(20), waited_ms, exact=rounds > 2)


@CLASSES
def test_behind_a_late_sender(
    worker_class: WorkerClass, newest: Gunicorn, serve: ServerFactory
) -> None:
    """A late sender has not waited, but those behind it in the queue have.

    All threads are busy, or wait for silent clients. The connections of the silent ones are old
    when their requests come: their short waits permit nothing.
    """
    waits = serving(worker_class, newest, serve)
    port, slots = waits.server.port, worker_class.capacity // 2 if worker_class.capacity else 1
    for _ in range(2):
        with ExitStack() as stack:
            late, behind = (
                [stack.enter_context(Client(port)) for _ in range(count)] for count in (slots, 10)
            )
            for client in behind:
                client.send()
            time.sleep(STALL_S)
            for client in late:
                client.send()
            waited_ms = waits_of([*late, *behind])
        compare("late", waits.of_the_next(slots + 10), waited_ms)
        assert min(waited_ms[slots:]) > 1000 * STALL_S * 0.9
